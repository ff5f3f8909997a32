"""A process of ours in a sandbox, with a socket to it: what workers and compilers have in common."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from flexlora.execution.cgroups import OWN_BYTES, OWN_PROCESSES, Cgroup, places
from flexlora.execution.sandbox import PROCESSES, SCRATCH_BYTES, sandbox_command
from flexlora.execution.seccomp import syscall_filter

START_TIMEOUT_S = 60.0
"""Starting a sandbox takes 30 ms; a machine on which it takes this long is broken, not loaded."""
FREED_S = 1.0
LEFT_BYTES = 16 << 20
NO_ENVIRONMENT: dict[str, str] = {}
NO_FILES: Mapping[str, bytes] = {}


class Stopped(Exception):
    """The run was called off; nothing of the program is left and there is no outcome."""


class SandboxBroken(Exception):
    """The sandbox ended or did not start; says why."""


class OutOfMemory(SandboxBroken):
    """The kernel ended the sandbox, or part of it, as its processes together used up their memory."""


class Sandboxed:
    """A started sandbox. Use it from the thread that made it: the kernel ends the sandbox with that thread.

    What runs in it must end when its standard input, the socket, does; so nothing outlives this process.
    """

    def __init__(
        self,
        argv: Sequence[str],
        binds: Mapping[str, str],
        *,
        memory_bytes: int,
        files: Mapping[str, bytes] = NO_FILES,
        answers_on_stdout: bool = False,
        starts_programs: bool = False,
    ) -> None:
        """Start it.

        Args:
            binds: path in the sandbox -> path of the host: what is shown beyond /usr, read-only.
            memory_bytes: what programs may use together, beside the scratch folder, where cgroups can be made.
            files: path in the sandbox -> content, read-only.
            answers_on_stdout: standard output is the socket, too.

        Raises:
            SandboxBroken: bubblewrap cannot be started.
            UsageError: bubblewrap or libseccomp is missing.
        """
        allowed_calls = syscall_filter(starts_programs=starts_programs)
        self.binds = dict(binds)
        self._stopped = False
        self._lock = threading.Lock()
        self._memory_bytes = self._oom_kills = 0
        self._cgroup: Cgroup | None = None
        with ExitStack() as held, ExitStack() as only_here:
            self._socket, theirs = socket.socketpair()
            held.callback(self._socket.close)
            only_here.callback(theirs.close)
            self._words, self._info = _file_of(b"", held), _file_of(b"", held)
            shown = {path: _file_of(content, only_here) for path, content in files.items()}
            allowed = _file_of(allowed_calls, only_here)
            command = sandbox_command(
                argv, binds=binds, info_fd=self._info, files=shown, filter_fd=allowed, starts_programs=starts_programs
            )
            try:
                if places():
                    self._cgroup = Cgroup(places())
                    held.callback(self._cgroup.remove)
                self.limit_memory(memory_bytes)
                self._process = subprocess.Popen(
                    self._cgroup.joining(command) if self._cgroup else command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno() if answers_on_stdout else subprocess.DEVNULL,
                    stderr=self._words,
                    pass_fds=(self._info, allowed, *shown.values()),
                    start_new_session=True,  # Ctrl-C is for us; we decide what becomes of the sandbox
                    env=NO_ENVIRONMENT,
                    cwd="/",
                )
            except OSError as error:
                raise SandboxBroken(str(error)) from error
            self._held = held.pop_all()

    def limit_memory(self, memory_bytes: int) -> None:
        """What programs may use together from now on, beside the scratch folder; nothing without cgroups.

        Raises:
            OSError: more than that is used already.
        """
        if self._cgroup and memory_bytes != self._memory_bytes:
            self._cgroup.limit(memory_bytes + SCRATCH_BYTES + OWN_BYTES, PROCESSES + OWN_PROCESSES)
            self._memory_bytes = memory_bytes

    def oom_killed(self) -> bool | None:
        """Whether processes of this sandbox were killed for their memory since the last call; None: unknown."""
        if self._cgroup is None:
            return None
        before, self._oom_kills = self._oom_kills, self._cgroup.oom_kills()
        return self._oom_kills > before

    def is_as_new(self) -> bool:
        """Whether no memory of ended programs is left in it; waits a little for the kernel to free what it can."""
        deadline = time.monotonic() + FREED_S
        while self._cgroup and self._cgroup.shared_bytes() > LEFT_BYTES:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def stop(self) -> None:
        """Call off what runs, from any thread; who waits for an answer meets Stopped."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the sandbox; returns when nothing of it is left."""
        self.stop()
        try:
            self._process.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._held.close()

    def kill(self) -> None:
        """End the sandbox without asking: its init where we know it, and bubblewrap."""
        with suppress(OSError, ValueError, KeyError):
            os.kill(json.loads(os.pread(self._info, 1 << 12, 0))["child-pid"], signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def send(self, data: bytes) -> None:
        """Raises: SandboxBroken, Stopped."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._ended(error) from error

    def wait_at_most(self, seconds: float) -> None:
        """For how long `receive` may wait from now on, each time."""
        self._socket.settimeout(seconds)

    def receive(self, size: int) -> bytes:
        """Exactly this many bytes. Raises: SandboxBroken, Stopped."""
        data = bytearray()
        try:
            while len(data) < size:
                chunk = self._socket.recv(min(size - len(data), 1 << 20))
                if not chunk:
                    raise ConnectionResetError("end of the socket")
                data += chunk
        except OSError as error:  # a timeout, too
            raise self._ended(error) from error
        return bytes(data)

    def _ended(self, error: OSError) -> Exception:
        if self._stopped:
            return Stopped()
        if isinstance(error, TimeoutError):
            self.kill()
            return SandboxBroken("The sandbox gave no answer in time.")
        try:
            self._process.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        words = os.pread(self._words, 1 << 12, 0).decode("utf-8", "replace").strip()
        kind = OutOfMemory if self.oom_killed() else SandboxBroken
        return kind(words or f"The sandbox ended ({self._process.returncode}).")


def _file_of(content: bytes, closing: ExitStack) -> int:
    """A descriptor of a file in memory, closed with the stack."""
    file = os.memfd_create("file")
    closing.callback(os.close, file)
    with os.fdopen(os.dup(file), "wb") as writer:
        writer.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    return file
