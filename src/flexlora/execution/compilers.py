"""Compilers that stay: started once in a sandbox of their own, asked for one program after the other.

Whatever one of them cannot do exactly as the plain command would, it declines, and the plain command does it. One that
crashes, hangs or answers nonsense is ended, the program at hand is compiled by the plain command, and the next program
meets a new one.

A request is two lengths (32 bits, big endian), the file's name and its source. The answer is exit code (DECLINED: not
done), CPU microseconds, length of what the compiler says, number of files, for each file the lengths of its name and
content; then all these, in this order.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flexlora.execution.sandbox import PROCESSES
from flexlora.execution.sandboxed import SandboxBroken, Sandboxed

DECLINED = -1
HEAD = struct.Struct("!iQII")
LIMIT_BYTES = 64 << 20
LIMIT_FILES = 10_000
LIMIT_NAME = 255
"""Bytes of a file's name, as the kernel has it."""
MEMORY_KIB = 2 << 20
"""Private memory of a compiler."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of one source."""

    exit_code: int
    """As the plain command's."""
    words: str
    """What the compiler said."""
    files: Mapping[str, bytes]
    """What it wrote."""
    cpu_s: float


class Compiler:
    """A resident compiler; use it from the thread that made it."""

    def __init__(self, argv: Sequence[str], binds: Mapping[str, str]) -> None:
        """Start it, without waiting for it.

        Raises:
            SandboxBroken: its sandbox cannot be started.
        """
        limits = f"ulimit -c 0; ulimit -d {MEMORY_KIB}; ulimit -u {PROCESSES} 2>/dev/null || ulimit -p {PROCESSES}"
        command = ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", *argv]
        self.sandbox = Sandboxed(command, binds, memory_bytes=MEMORY_KIB << 10, answers_on_stdout=True)

    def compile(self, file_name: str, source: bytes, timeout_s: float) -> Compiled | None:
        """Compile one source; None where the compiler declines.

        Raises:
            SandboxBroken: it is of no more use.
            Stopped: its sandbox was stopped.
        """
        name = file_name.encode()
        self.sandbox.wait_at_most(timeout_s)
        self.sandbox.send(struct.pack("!II", len(name), len(source)) + name + source)
        code, cpu_us, words_size, count = HEAD.unpack(self.sandbox.receive(HEAD.size))
        if code == DECLINED:
            return None
        if count > LIMIT_FILES:
            raise SandboxBroken(f"The compiler announces {count} files.")
        sizes = struct.unpack(f"!{2 * count}I", self.sandbox.receive(8 * count))
        if words_size + sum(sizes) > LIMIT_BYTES:
            raise SandboxBroken(f"The compiler announces {words_size + sum(sizes)} bytes.")
        words = self.sandbox.receive(words_size).decode("utf-8", "replace")
        names = [self.sandbox.receive(size).decode() for size in sizes[::2]]
        if any(len(part.encode()) > LIMIT_NAME for name in names for part in name.split("/")):
            return None  # the plain command will say that it cannot write such a file
        contents = [self.sandbox.receive(size) for size in sizes[1::2]]
        return Compiled(code, words, dict(zip(names, contents, strict=True)), cpu_us / 1e6)
