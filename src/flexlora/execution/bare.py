"""No sandbox (`--sandbox none`): programs run as this user, on this machine, with its files, network and environment.

For programs that are known to be harmless, on machines where the sandbox cannot work. There is a folder for each
program, the memory limit of each process, limits on time and output, and the end of a program's process group. A
daemon that leaves the group goes on, and time is the clock's, whatever the load.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from flexlora.execution.inside.python_main import FINISHED, READ_WORD, WORD_BYTES, WRITE_FINISHED
from flexlora.execution.languages.language import MemoryLimit
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.sandbox import ENVIRONMENT
from flexlora.execution.sandboxed import Stopped
from flexlora.execution.worker import FOLDER, INSIDE, OUTPUT_BYTES, Job

WARNING = (
    "WARNING: programs run WITHOUT a sandbox (--sandbox none): they can read, change and delete whatever you can, and "
    "reach the network. Only for programs that you would start by hand."
)
HIGH = 10
TICK_MS = 50
"""How often a call to stop is looked for."""
START = 'cd "$1"; ulimit -c 0; ulimit "-$2" "$3"; shift 3; exec "$@"'
ULIMITS = {MemoryLimit.ADDRESS_SPACE: "v", MemoryLimit.DATA: "d"}


class Bare:
    """Runs programs as `Worker` does, without a sandbox; use it from one thread, except for `stop`."""

    def __init__(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """Call off what runs, from any thread."""
        self._stopped = True

    def run(self, job: Job) -> Outcome:
        """Run one program to its end.

        Raises:
            Stopped: `stop` was called.
        """
        assert job.run is not None  # a fork of a running interpreter needs a worker
        with tempfile.TemporaryDirectory(prefix="flexlora-", ignore_cleanup_errors=True) as folder:
            for name, content in job.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if job.compile is None:
                return self._run_stage(job, Phase.RUN, job.run, job.run_timeout_s, folder)
            compiled = self._run_stage(job, Phase.COMPILE, job.compile, job.compile_timeout_s, folder)
            if compiled.end is not End.EXIT or compiled.exit_code != 0:
                return compiled
            ran = self._run_stage(job, Phase.RUN, job.run, job.run_timeout_s, folder)
            return replace(
                ran,
                compiler_stdout=compiled.stdout,
                compiler_stderr=compiled.stderr,
                wall_s=compiled.wall_s + ran.wall_s,
                cpu_s=compiled.cpu_s + ran.cpu_s,
            )

    def _run_stage(self, job: Job, phase: Phase, argv: Sequence[str], timeout_s: float, folder: str) -> Outcome:
        def here(word: str) -> str:
            return word.replace("/scratch", folder).replace(FOLDER + "/", f"{INSIDE}/")

        command = ["/bin/sh", "-c", START, "sh", folder, ULIMITS[job.memory_limit], str(job.memory_bytes >> 10)]
        environment = {name: here(value) for name, value in {**ENVIRONMENT, **job.environment}.items()}
        proves_end = job.proves_end and phase is Phase.RUN
        with ExitStack() as open_ends:
            stdout, stderr, proof = (_Pipe(open_ends) for _ in range(3))
            word = os.urandom(WORD_BYTES // 2).hex().encode()
            os.write(proof.write, word)
            feed = _Feed(open_ends, job.stdin if phase is Phase.RUN else None)
            given = [(feed.read, 0), (stdout.write, 1), (stderr.write, 2)]
            if proves_end:
                given += [(proof.read, READ_WORD), (proof.write, WRITE_FINISHED)]
            started = time.monotonic()
            pid = os.posix_spawn(
                command[0],
                [*command, *map(here, argv)],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, new) for fd, new in given],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
            feed.given()
            end = self._watch(pid, (stdout, stderr), feed, started + timeout_s)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # its number is its own until it is waited for
            _, status, usage = os.wait4(pid, 0)
            if self._stopped:
                raise Stopped
            code = os.waitstatus_to_exitcode(status)
            for pipe in (stdout, stderr):
                if pipe.drain():
                    end = End.OUTPUT_LIMIT
            proof.drain()
            return Outcome(
                phase=phase,
                end=end,
                exit_code=(code if code >= 0 else 128 - code) if end is End.EXIT else None,
                stdout=stdout.text(),
                stderr=stderr.text(),
                wall_s=time.monotonic() - started,
                cpu_s=usage.ru_utime + usage.ru_stime,
                finished=bytes(proof.data).endswith(FINISHED + word) if proves_end else None,
            )

    def _watch(self, pid: int, pipes: Sequence[_Pipe], feed: _Feed, deadline: float) -> End:
        """Wait for the process to end, or for a reason to end it; it is not waited for in the kernel's sense."""
        handle = os.pidfd_open(pid)
        poll = select.poll()
        for fd in (handle, *(pipe.read for pipe in pipes)):
            poll.register(fd, select.POLLIN)
        if feed.write >= 0:
            poll.register(feed.write, select.POLLOUT)
        try:
            while not self._stopped:
                ready = dict(poll.poll(TICK_MS))
                if feed.write in ready and feed.is_done():
                    poll.unregister(feed.write)
                    feed.close()
                for pipe in pipes:
                    if pipe.read in ready and pipe.drain():
                        return End.OUTPUT_LIMIT
                if handle in ready:
                    return End.EXIT
                if time.monotonic() >= deadline:
                    return End.TIMEOUT
            return End.EXIT
        finally:
            os.close(handle)


class _Feed:
    """What a program reads from standard input: by a pipe, or nothing."""

    def __init__(self, closing: ExitStack, content: bytes | None) -> None:
        self.read, self.write, self._content = -1, -1, memoryview(content or b"")
        closing.callback(self.close)
        if content is None:
            self.read = os.open("/dev/null", os.O_RDONLY)
            return
        ends = os.pipe()
        self.read, self.write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, HIGH) for end in ends)
        for end in ends:
            os.close(end)
        os.set_blocking(self.write, False)

    def given(self) -> None:
        """The program has its end now, and is to be the only one."""
        os.close(self.read)
        self.read = -1

    def is_done(self) -> bool:
        """Write what the pipe takes; True where that was all, or nobody reads it any more."""
        try:
            self._content = self._content[os.write(self.write, self._content) :] if self._content else self._content
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._content

    def close(self) -> None:
        for end in (self.read, self.write):
            if end >= 0:
                os.close(end)
        self.read = self.write = -1


class _Pipe:
    """A pipe, and what came out of it, up to the limit of output."""

    def __init__(self, closing: ExitStack) -> None:
        # High enough not to be in the way of the descriptors that a program gets.
        ends = os.pipe()
        self.read, self.write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, HIGH) for end in ends)
        for end in ends:
            os.close(end)
        for end in (self.read, self.write):
            closing.callback(os.close, end)
        self.data = bytearray()

    def drain(self) -> bool:
        """Take what there is; True where it is more than the limit."""
        while len(self.data) <= OUTPUT_BYTES and select.select([self.read], [], [], 0)[0]:
            self.data += os.read(self.read, 1 << 16)
        return len(self.data) > OUTPUT_BYTES

    def text(self) -> str:
        return self.data.decode("utf-8", "replace")
