"""Runs inside the sandbox, on its own: starts programs one at a time and watches each until nothing of it is left.

The package does not import it; `worker` puts it into a sandbox, where the system's Python runs it with the standard
library alone. Two processes come of it:

- the *supervisor* talks to the host over standard input (a socket), gives a program its input by a pipe, captures
  output, and keeps the time;
- the *zygote* starts programs. It never sees a program's source or output, so nothing of one program can be found in
  the memory of the next, which for Python is a fork of it.

Each program gets PID, mount and IPC namespaces of its own, a network namespace free of sockets, a fresh /proc, an empty
bounded scratch folder, resource limits, a system call filter, and no capabilities. Its init reports how it ended and
whether it proved to have come to its end (`python_main` says how); when init ends, the kernel kills all that the
program left behind, and only then is the program over.

Time is up for a stage when it has had its seconds both by the clock and on a processor; when it has mostly slept for
twice as long; and after `PATIENCE` times as long in any case. So a loaded machine takes nothing from a program.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False  # typing is no small import, and not every sandbox runs Python programs
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

    Request = dict[str, Any]
    PythonProgram = tuple[ModuleType, bytes, int, dict[str, str]]
    """What `python_main.run` needs: the module, the word, the pipe and the environment."""

PATIENCE = 10
IDLE = 0.05
"""A program that used less than this share of one processor is waiting, not computing."""
SETUP_S = 60.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ROOM = 1 << 16
KILL = b"kill"

NEWNS, NEWIPC, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x20000000, 0x40000000
NOSUID_NODEV, NOSUID_NODEV_NOEXEC = 6, 14
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 4, 22, 24, 47, 4
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522

FOLDER = "/flexlora"
"""Where this file lies in the sandbox, with the system call filter of programs and `python_main`."""
WORD_BYTES = 32
FINISHED = b"finished "
READ_WORD, WRITE_FINISHED = 3, 4
HIGH = 10
"""Descriptors from here on are not in the way of those that a program gets."""

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A system call of the C library's, which says what failed."""
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


# Messages between host and supervisor: length of the JSON header, length of what follows it, header, the rest.


def read_exactly(fd: int, size: int) -> bytes:
    chunks = []
    while size:
        chunk = os.read(fd, min(size, 1 << 20))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def read_message(fd: int) -> tuple[Request, bytes]:
    header, body = struct.unpack("!II", read_exactly(fd, 8))
    return json.loads(read_exactly(fd, header)), read_exactly(fd, body)


def write_message(fd: int, header: Request, body: bytes) -> None:
    text = json.dumps(header).encode()
    view = memoryview(struct.pack("!II", len(text), len(body)) + text + body)
    while view:
        view = view[os.write(fd, view) :]


# The supervisor


class Stage:
    """One command of a program: its captured output and its times."""

    def __init__(self) -> None:
        pipes = os.pipe(), os.pipe()
        self.reads = [read for read, _ in pipes]
        self.writes = [write for _, write in pipes]
        self.chunks: dict[int, list[bytes]] = {fd: [] for fd in self.reads}
        self.sizes = dict.fromkeys(self.reads, 0)
        for fd in self.reads:
            os.set_blocking(fd, False)

    def drain(self, fd: int, limit: int) -> bool:
        """Read what there is; True where the stream is at its end or over the limit."""
        while self.sizes[fd] <= limit:
            try:
                chunk = os.read(fd, ROOM)
            except BlockingIOError:
                return False
            if not chunk:
                return True
            self.chunks[fd].append(chunk)
            self.sizes[fd] += len(chunk)
        return True

    def output(self) -> list[bytes]:
        return [b"".join(self.chunks[fd]) for fd in self.reads]

    def close(self) -> None:
        for fd in self.reads:
            os.close(fd)


class Supervision:
    """One program, from its request to the answer."""

    def __init__(self, host: int, zygote: socket.socket, request: Request, bundle: bytes) -> None:
        self.host, self.zygote, self.request = host, zygote, request
        self.limit = request["output_bytes"]
        self.stages = [Stage() for _ in request["stages"]]
        self.poll = select.poll()
        self.events = b""
        self.stage = -1  # -1: being set up
        self.end: str | None = None
        self.code: int | None = None
        self.finished = False
        self.error = ""
        self.cpu_s = self.cpu_before = 0.0
        self.started = time.monotonic()
        self.check_at = self.started + SETUP_S
        self.start(bundle)

    def start(self, bundle: bytes) -> None:
        self.report, report_end = os.pipe()
        self.feed, self.input = -1, memoryview(b"")
        size = self.request["stdin_bytes"]
        if size is not None:
            bundle, self.input = bundle[: len(bundle) - size], memoryview(bundle)[len(bundle) - size :]
        text = json.dumps(self.request).encode()  # its names may be many, too many for one packet
        file = os.memfd_create("program")
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(text + bundle)
        os.lseek(file, len(text), os.SEEK_SET)
        theirs = [report_end, file] + [fd for stage in self.stages for fd in stage.writes]
        if size is not None:
            fed, self.feed = os.pipe()
            os.set_blocking(self.feed, False)
            self.poll.register(self.feed, select.POLLOUT)
            theirs.append(fed)
        socket.send_fds(self.zygote, [b"%d" % len(text)], theirs)
        for fd in theirs:
            os.close(fd)
        self.streams = {fd: stage for stage in self.stages for fd in stage.reads}
        for fd in (self.host, self.zygote.fileno(), self.report, *self.streams):
            self.poll.register(fd, select.POLLIN)

    def run(self) -> tuple[Request, bytes]:
        """Watch the program to its end; returns the answer's header and its body."""
        while True:
            wait_ms = None if self.end else max(0.0, self.check_at - time.monotonic()) * 1000
            for fd, _ in self.poll.poll(wait_ms):
                if fd == self.host:
                    os._exit(0)  # the host ended, or calls all off: it never writes before it has its answer
                if fd == self.zygote.fileno():
                    return self.finish(json.loads(self.zygote.recv(ROOM)))
                if fd == self.report:
                    if not self.read_events():
                        self.poll.unregister(fd)
                elif fd == self.feed:
                    self.write_input()
                elif self.streams[fd].drain(fd, self.limit):
                    self.poll.unregister(fd)
                    if self.streams[fd].sizes[fd] > self.limit:
                        self.stop("output")
            if self.end is None and time.monotonic() >= self.check_at:
                self.check_time()

    def write_input(self) -> None:
        """Give the program more of its input; at the end of it, or of all who could read it, close the pipe."""
        try:
            self.input = self.input[os.write(self.feed, self.input[:ROOM]) :] if self.input else self.input
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.input = memoryview(b"")
        if not self.input:
            self.poll.unregister(self.feed)
            os.close(self.feed)
            self.feed = -1

    def read_events(self) -> bool:
        """Take init's reports; False at their end."""
        chunk = os.read(self.report, ROOM)
        *lines, self.events = (self.events + chunk).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b"start":
                self.stage = int(rest)
                now = time.monotonic()
                if self.stage == 0:
                    self.started = now
                self.stage_started, self.cpu_before = now, self.cpu() if self.stage else 0.0
                self.check_at = now + self.request["stages"][self.stage]["timeout_s"]
            elif word == b"end":
                code, _, finished = rest.partition(b" ")
                self.code, self.finished = int(code), finished == b"finished"
            else:
                self.error = line.decode("utf-8", "replace")
        return bool(chunk)

    def check_time(self) -> None:
        if self.stage < 0:
            self.error = f"the program's sandbox was not ready within {SETUP_S:g} s"
            self.stop("broken")
            return
        limit = self.request["stages"][self.stage]["timeout_s"]
        now = time.monotonic()
        wall, cpu = now - self.stage_started, self.cpu() - self.cpu_before
        if cpu >= limit or wall >= PATIENCE * limit or (wall >= 2 * limit and cpu < IDLE * wall):
            self.stop("timeout")
        else:
            missing = limit - cpu if cpu >= IDLE * wall else 2 * limit - wall
            self.check_at = now + max(0.01, min(missing, PATIENCE * limit - wall))

    def cpu(self) -> float:
        """CPU seconds so far of the program's processes: all in the sandbox but its init and us."""
        ticks = 0
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in (1, os.getpid(), self.request["zygote"]):
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        # After the name, which may hold anything: utime stime cutime cstime are 11 to 14.
                        fields = file.read().rpartition(b")")[2].split()
                except OSError:
                    continue  # ended meanwhile; its parent's sum holds its time
                ticks += sum(map(int, fields[11:15]))
        return ticks * TICK_S

    def stop(self, reason: str) -> None:
        if self.end is None:
            self.end = reason
            self.cpu_s = self.cpu()
            self.zygote.send(KILL)

    def finish(self, ended: Request) -> tuple[Request, bytes]:
        wall_s = time.monotonic() - self.started
        self.read_events()
        for fd, stage in self.streams.items():
            if stage.drain(fd, self.limit) and stage.sizes[fd] > self.limit:
                self.end = "output"
        if self.end is None and (self.code is None or self.stage < 0):
            self.end = "broken"
            self.error = self.error or f"the program's init ended in status {ended['status']}"
        output = [part for stage in self.stages for part in stage.output()]
        for stage in self.stages:
            stage.close()
        os.close(self.report)
        if self.feed >= 0:
            os.close(self.feed)
        header = {
            "stage": self.stage,
            "end": self.end or "exit",
            "code": self.code if self.end is None else None,
            "finished": self.finished,
            "error": self.error,
            "wall_s": wall_s,
            # The time of processes killed with init is in no record; for these there is the sum taken before.
            "cpu_s": max(self.cpu_s, ended["cpu_s"]),
            "sizes": [len(part) for part in output],
        }
        return header, b"".join(output)


def supervise(host: int, zygote: socket.socket, zygote_pid: int) -> NoReturn:
    write_message(host, {"ready": True}, b"")
    while True:
        try:
            message = read_message(host)
        except (EOFError, ConnectionResetError):
            os._exit(0)
        message[0]["zygote"] = zygote_pid
        supervision = Supervision(host, zygote, *message)
        del message  # an input may be large, and the next one need not meet it
        write_message(host, *supervision.run())
        del supervision


# The zygote


def bound_capabilities() -> None:
    """Nothing that we start can come to have a capability by executing a file."""
    for capability in range(64):
        try:
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL or capability == 0:
                raise
            break  # there are no more
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def serve(supervisor: socket.socket) -> PythonProgram:
    """Start what the supervisor asks for, for ever; returns only in a Python program, with what it needs."""
    bound_capabilities()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    system_calls = SystemCallFilter()
    python_main = None
    network = Network()
    while True:
        message, fds, _, _ = socket.recv_fds(supervisor, 16, 64)
        if not message:
            os._exit(0)
        if message == KILL:
            continue  # it crossed the news that the program was over
        request = json.loads(os.pread(fds[1], int(message), 0))
        if python_main is None and any(stage["argv"] is None for stage in request["stages"]):
            python_main = load_python_main()
        network.renew_if_used()
        call("unshare", NEWPID)
        init = os.fork()
        if init == 0:
            supervisor.close()
            os.close(own_pids)
            os.close(network.statistics)
            for fd in fds:
                os.set_inheritable(fd, False)  # a program that could write our reports could forge its verdict
            word, pipe, environment = be_init(request, system_calls, *fds)
            assert python_main is not None
            return python_main, word, pipe, environment
        call("setns", own_pids, NEWPID)
        for fd in fds:
            os.close(fd)
        ended = wait_for(init, supervisor)
        collect_sockets()
        supervisor.send(json.dumps(ended).encode())


class Network:
    """A network namespace without any interface up; as making one is slow, the next program gets it if it is as new."""

    def __init__(self) -> None:
        self.statistics = -1
        self.renew()

    def renew(self) -> None:
        if self.statistics >= 0:
            os.close(self.statistics)
        call("unshare", NEWNET)
        self.statistics = os.open("/proc/self/net/sockstat", os.O_RDONLY)
        self.new = self.used()

    def used(self) -> list[bytes]:
        """Numbers of sockets, with those that outlive their process for a while; none of other namespaces."""
        sockets, tcp, *others = os.pread(self.statistics, ROOM, 0).splitlines()
        return [sockets, tcp.partition(b" orphan")[0], tcp.partition(b" tw ")[2].partition(b" ")[0], *others]

    def renew_if_used(self) -> None:
        if self.used() != self.new:
            self.renew()


def collect_sockets() -> None:
    """Sockets that hold each other keep what they carry until the kernel looks for such, as it does when one closes."""
    one, other = socket.socketpair(socket.AF_UNIX)
    one.close()
    other.close()


class SystemCallFilter:
    """The filter that programs run under, ready for the kernel."""

    def __init__(self) -> None:
        with open(FOLDER + "/filter", "rb") as file:
            instructions = file.read()
        self.instructions = ctypes.create_string_buffer(instructions, len(instructions))
        # struct sock_fprog: a number of instructions of 8 bytes each, and where they are.
        self.program = struct.pack("HP", len(instructions) // 8, ctypes.addressof(self.instructions))

    def install(self) -> None:
        call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.program, 0, 0)


def load_python_main() -> ModuleType:
    """Load what runs Python programs, and what these import most, once instead of in each."""
    module = type(sys)("python_main")
    path = FOLDER + "/python_main.py"
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    for name in ("types", "typing", "math", "heapq", "bisect", "string", "copy", "itertools"):  # none with state
        __import__(name)
    gc.collect()
    gc.freeze()
    return module


def wait_for(init: int, supervisor: socket.socket) -> Request:
    poll = select.poll()
    handle = os.pidfd_open(init)
    poll.register(handle, select.POLLIN)
    poll.register(supervisor, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if handle in ready:
            os.close(handle)
            _, status, usage = os.wait4(init, 0)
            return {"status": status, "cpu_s": usage.ru_utime + usage.ru_stime}
        if not supervisor.recv(16):
            os._exit(0)
        os.kill(init, signal.SIGKILL)  # not waited for yet, so the number is still its own


def be_init(
    request: Request, system_calls: SystemCallFilter, report: int, bundle: int, *streams: int
) -> tuple[bytes, int, dict[str, str]]:
    """Init of a program's PID namespace: run its stages, report, end. A stage of Python returns from here instead."""
    try:
        os.setsid()  # a signal to a program's process group must not reach the zygote's
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which init never gets, as it has no handler for it
        null = os.open("/dev/null", os.O_RDONLY)  # its flags are shared by all who have it open
        os.dup2(null, 0)
        os.close(null)
        set_up(request, bundle)
        score = limit(request["limits"])
        own_score = os.read(score, 16)  # not always 0, and it may not be lowered further
        system_calls.install()
        stages, environment = request["stages"], dict(request["environment"])
        for i, stage in enumerate(stages):
            os.write(report, b"start %d\n" % i)
            output, errors = streams[2 * i : 2 * i + 2]
            feed = streams[-1] if i == len(stages) - 1 and request["stdin_bytes"] is not None else -1
            proof = Proof()
            os.write(score, b"1000")  # should the machine run out of memory, the program is to go first
            if stage["argv"] is None:
                proof.take_word()
                pid = os.fork()
                if pid == 0:
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
                    os.setsid()
                    if feed >= 0:
                        os.dup2(feed, 0)
                    os.dup2(output, 1)
                    os.dup2(errors, 2)
                    os.dup2(proof.write, WRITE_FINISHED, inheritable=False)
                    os.closerange(WRITE_FINISHED + 1, 1 << 10)
                    os.closerange(READ_WORD, WRITE_FINISHED)
                    return proof.word, WRITE_FINISHED, environment
            else:
                given = [(feed, 0)] * (feed >= 0) + [(output, 1), (errors, 2)]
                pid = start_command(stage["argv"], environment, given, proof if stage["proves_end"] else None)
            if feed >= 0:
                os.close(feed)  # once the program has closed it, nobody can read it any more
            os.write(score, own_score)
            code = wait_for_code(pid) if pid else 127
            if code or i == len(stages) - 1:
                os.write(report, b"end %d%s\n" % (code, b" finished" if proof.given() else b""))
                break
    except Exception as error:
        os.write(report, (f"broken {error}\n").replace("\n", " ").encode() + b"\n")
    os._exit(0)


class Proof:
    """A pipe with a word in it, for one program: see `python_main`."""

    def __init__(self) -> None:
        self.word = os.urandom(WORD_BYTES // 2).hex().encode()
        ends = os.pipe()
        self.read, self.write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, HIGH) for end in ends)
        for end in ends:
            os.close(end)
        os.write(self.write, self.word)

    def take_word(self) -> None:
        """For a program that could find it in the pipe; who runs it knows the word."""
        os.read(self.read, WORD_BYTES)

    def given(self) -> bool:
        os.set_blocking(self.read, False)
        try:
            return os.read(self.read, ROOM).endswith(FINISHED + self.word)
        except BlockingIOError:
            return False


def wait_for_code(pid: int) -> int:
    while True:
        ended, status = os.wait()  # orphans come to init, too
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def set_up(request: Request, bundle: int) -> None:
    call("unshare", NEWNS | NEWIPC)
    options = f"size={request['scratch_bytes']},nr_inodes={request['scratch_files']},mode=0700"
    call("mount", b"scratch", b"/scratch", b"tmpfs", NOSUID_NODEV, options.encode())
    call("mount", b"proc", b"/proc", b"proc", NOSUID_NODEV_NOEXEC, None)
    os.chdir("/scratch")
    for name, size in request["files"]:
        if "/" in name:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as file:
            while size:
                size -= os.sendfile(file.fileno(), bundle, None, size)
    os.close(bundle)
    drop_capabilities()


def drop_capabilities() -> None:
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    call("capset", header, bytes(24))


def limit(limits: dict[str, int]) -> int:
    """Take on the limits of the program, which inherits them; returns our open oom_score_adj."""
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is root's; no program runs yet
    score = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
    return score


def start_command(
    argv: list[str], environment: dict[str, str], given: list[tuple[int, int]], proof: Proof | None
) -> int:
    """Start a command without the cost of a fork; its process, 0 where it cannot be started.

    All other descriptors close by themselves: Python's own do, and those received were made to in `serve`.

    Args:
        given: descriptors of ours, each with the number that it has in the program; standard error last.
    """
    errors = given[-1][0]
    if proof:
        given += [(proof.read, READ_WORD), (proof.write, WRITE_FINISHED)]
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, new) for fd, new in given],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        os.write(errors, f"{argv[0]}: {error}\n".encode())
        return 0


def main() -> PythonProgram:
    """Set the sandbox up for programs and split in two; returns in a Python program only."""
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")  # no program can make itself root of a namespace of its own
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # no program can look into or trace us, who have its user
    host = os.dup(0)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    zygote = os.fork()
    if zygote:
        theirs.close()
        supervise(host, ours, zygote)
    os.close(host)
    ours.close()
    return serve(theirs)


if __name__ == "__main__":
    python_main, word, pipe, environment_of_program = main()
    python_main.run("/scratch/program.py", word, pipe, environment_of_program)
