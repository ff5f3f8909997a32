"""What hostile programs are led to, and the search for what they did: to files, sockets, processes."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

VARIABLE = "FLEXLORA_BAIT"


class Bait:
    """A secret in a file and in the environment, servers, and a process; all are there while this is open."""

    def __init__(self) -> None:
        self.marker = f"marker-{uuid.uuid4().hex}"
        """A word that hostile programs give to processes that they leave behind."""
        self._content = f"secret-{uuid.uuid4().hex}"
        with ExitStack() as opened:
            self.folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="flexlora-bait-"))
            """A folder that everyone may write to."""
            Path(self.folder).chmod(0o777)
            self.secret = f"{self.folder}/secret"
            """A file that everyone may read."""
            Path(self.secret).write_text(self._content + "\n")
            self._servers = [opened.enter_context(socket.create_server(("127.0.0.1", 0)))]
            self.port = self._servers[0].getsockname()[1]
            """Of a server on this machine's loopback."""
            self._servers.append(opened.enter_context(socket.socket(socket.AF_UNIX)))
            self._servers[1].bind(f"\0{self.marker}")
            self._servers[1].listen()
            for server in self._servers:
                server.setblocking(False)
            self._process = subprocess.Popen(["sleep", "100000"], start_new_session=True)
            opened.callback(self._process.wait)
            opened.callback(self._process.kill)
            self.victim = self._process.pid
            """A process of ours."""
            os.environ[VARIABLE] = self._content
            opened.callback(os.environ.pop, VARIABLE)
            self._opened = opened.pop_all()

    def harm(self, said: str) -> list[str]:
        """What was done, in words; empty if nothing was.

        Args:
            said: all that the program wrote.
        """
        found = []
        if self._content in said:
            found.append("it read the secret")
        files = sorted(path.name for path in Path(self.folder).iterdir())
        if files != ["secret"] or Path(self.secret).read_text() != self._content + "\n":
            found.append(f"it wrote to {self.folder}: {files}")
        for server in self._servers:
            try:
                server.accept()[0].close()
                found.append(f"it reached {server.getsockname()!r}")
            except BlockingIOError:
                pass
        if self._process.poll() is not None:
            found.append("it killed a process")
        if left := commands_with(self.marker):
            found.append(f"it left {len(left)} processes behind: {left[0]!r}")
        if count := len(processes_of_programs()):
            found.append(f"{count} processes of it go on")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()


def processes_of_programs() -> list[int]:
    """Processes below us that are in a PID namespace of a program; its sandbox has one of its own around it."""
    ours = _namespaces("self")
    return [pid for pid in below_us() if _namespaces(str(pid)) >= ours + 2]


def below_us() -> list[int]:
    """Processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(path.parent.name))
    found, parents = [], [os.getpid()]
    while parents:
        of_one = children.get(parents.pop(), [])
        found += of_one
        parents += of_one
    return found


def _namespaces(process: str) -> int:
    """PID namespaces that a process is in, one within the other; 0 if it ended."""
    try:
        status = Path("/proc", process, "status").read_text()
    except OSError:
        return 0
    return len(status.partition("NSpid:")[2].partition("\n")[0].split())


def commands_with(word: str) -> list[str]:
    """Command lines on this machine that hold a word, but for ours; a sandbox's processes are seen from here."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in command and path.parent.name != str(os.getpid()):
            found.append(command)
    return found
