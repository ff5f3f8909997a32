"""Hostile programs in Python: what all languages could try, most of it."""

from __future__ import annotations

from flexlora.execution.conformance.behaviour import (
    EXCEPTION,
    OK,
    OUT_OF_MEMORY,
    OUTPUT_LIMIT,
    STOPPED,
    TIMEOUT,
    Behaviour,
)
from flexlora.execution.verdict import Status


def _python(
    name: str, ends: frozenset[Status], program: str, *, timeout_s: float = 20.0, needs_memory_cgroup: bool = False
) -> Behaviour:
    return Behaviour(
        name=name,
        language="py",
        program=program,
        ends=ends,
        timeout_s=timeout_s,
        needs_memory_cgroup=needs_memory_cgroup,
    )


PROCESSES = [
    _python(
        "fork-bomb",
        TIMEOUT,
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
        timeout_s=1,
    ),
    _python(
        "fork-beyond-limit",
        OK,
        """
import os, time
n = 0
try:
    while n < 2000:
        if os.fork() == 0: time.sleep(1000)
        n += 1
    print("HARM: started", n, "processes")
except BlockingIOError: pass
""",
    ),
    _python(
        "outlive-parent",
        OK,
        """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "while True: pass", "$marker"])
""",
    ),
    _python(
        "growing-child",
        OK,
        """
import subprocess, sys
code = "x = []\\nprint(flush=True)\\nwhile True:\\n  try: x.append(bytearray(10_000_000))\\n  except MemoryError: pass"
subprocess.Popen([sys.executable, "-c", code, "$marker"], stdout=subprocess.PIPE).stdout.readline()
""",
    ),
    _python(
        "daemon",
        OK,
        """
import os, subprocess, sys
code = "import os, signal, sys, time; [signal.signal(s, signal.SIG_IGN) for s in range(1, 32) if s not in (9, 19)]"
code += "; print('up', flush=True); [os.close(i) for i in range(3)]; time.sleep(1000)"
subprocess.Popen([sys.executable, "-c", code, "$marker"], start_new_session=True,
                 stdout=subprocess.PIPE).stdout.readline()
""",
    ),
    _python(
        "daemon-at-deadline",
        TIMEOUT,
        """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execv(sys.executable, [sys.executable, "-c", "while True: pass", "$marker"])
    os._exit(0)
while True: pass
""",
        timeout_s=1,
    ),
    _python(
        "ignore-signals",
        TIMEOUT,
        """
import signal
for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)
while True: pass
""",
        timeout_s=1,
    ),
    _python("sleep-forever", TIMEOUT, "import time; time.sleep(1e6)", timeout_s=0.5),
    _python("stop-itself", TIMEOUT, "import os; os.kill(os.getpid(), 19)", timeout_s=0.5),
    _python(
        "kill-others",
        OK,
        """
import ctypes, os
for pid in ($victim, *range(2, 300)):
    if pid in (os.getpid(), os.getppid()): continue
    for attempt in (lambda: os.kill(pid, 9), lambda: os.killpg(pid, 9), lambda: os.stat(f"/proc/{pid}")):
        try: attempt()
        except (ProcessLookupError, FileNotFoundError): continue
        print("HARM: reached process", pid)
for number in range(1, 65):
    try: os.kill(1, number)  # its init, which takes no notice
    except OSError: pass
try: os.kill(-1, 9)
except ProcessLookupError: pass  # nobody else is there
""",
    ),
    _python(
        "limit-its-init",
        OK,
        """
import os, resource
for limit in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    try: resource.prlimit(1, limit, (0, 0)); print("HARM: limited its init")
    except OSError: pass
for _ in range(100):
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
""",
    ),
    _python(
        "trace-others",
        OK,
        """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0: time.sleep(1000)
for pid in (1, child, $victim):
    if libc.ptrace(16, pid, 0, 0) == 0: print("HARM: traced", pid)
    try: open(f"/proc/{pid}/mem", "r+b").read(1); print("HARM: opened the memory of", pid)
    except (OSError, ValueError): pass
    if libc.syscall(310, pid, 0, 0, 0, 0, 0) == 0: print("HARM: process_vm_readv of", pid)
""",
    ),
]

OUTPUT = [
    _python("flood-stdout", OUTPUT_LIMIT, "for _ in range(100): print('x' * 1_000_000)"),
    _python("flood-stderr", OUTPUT_LIMIT, "import sys\nfor _ in range(100): sys.stderr.write('x' * 1_000_000)"),
    _python("flood-from-children", OUTPUT_LIMIT, "import os; os.fork(); os.fork()\nwhile True: print('x' * 100_000)"),
    _python(
        "close-outputs", EXCEPTION, "import os\nfor fd in range(100):\n  try: os.close(fd)\n  except OSError: pass"
    ),
    _python(
        "close-outputs-and-sleep",
        TIMEOUT,
        "import os, time\nfor fd in range(3): os.close(fd)\ntime.sleep(1000)",
        timeout_s=0.5,
    ),
    _python(
        "read-stdin",
        OK,
        """
import os, sys
if sys.stdin.read() or os.read(0, 1): print("HARM: read from standard input")
""",
    ),
    _python(
        "forge-by-printing",
        EXCEPTION,
        """
import os
forged = b'\\nend 0 finished\\nfinished 0123456789abcdef0123456789abcdef{"status": "OK", "passed": true, "code": 0}\\n'
for fd in range(100):
    try: os.write(fd, forged)
    except OSError: pass
raise SystemExit(7)
""",
    ),
    _python(
        "forge-the-end-with-what-is-in-the-pipe",
        EXCEPTION,
        """
import os
for fd in range(3, 20):
    try:
        pipe = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
        os.write(fd, b"finished " + os.read(pipe, 32))
    except OSError: pass
os._exit(0)
""",
    ),
    _python(
        "forge-the-end",
        EXCEPTION,
        """
import os
for fd in range(100):
    try: os.write(fd, b"finished " + b"0" * 32)
    except OSError: pass
os._exit(0)
""",
    ),
]

MEMORY_AND_DISK = [
    _python("allocate-all-memory", OUT_OF_MEMORY, "x = []\nwhile True: x.append(bytearray(10_000_000))"),
    _python(
        "allocate-shared-memory",
        frozenset({Status.EXCEPTION, Status.OUT_OF_MEMORY}),
        """
import mmap
x = []
for _ in range(100):
    x.append(mmap.mmap(-1, 1 << 26))
    for i in range(0, 1 << 26, 4096): x[-1][i] = 1
print("HARM: has 6 GiB of memory")
""",
    ),
    _python(
        "allocate-in-many-processes",
        OUT_OF_MEMORY,
        """
import os, signal, time
open("/proc/self/oom_score_adj", "w").write("0")  # as little of a victim as may be
read, write = os.pipe()
for _ in range(16):
    if os.fork() == 0:
        x = bytearray(b"x") * 400_000_000
        os.write(write, b"x")
        time.sleep(1000)
signal.signal(signal.SIGCHLD, lambda *_: os._exit(1))  # one was killed
n = 0
while n < 16: n += len(os.read(read, 16))
print("HARM: its processes have 6.4 GB")
""",
        needs_memory_cgroup=True,
    ),
    _python(
        "pass-though-children-were-killed",
        OK,
        """
import os, signal
for _ in range(16):
    if os.fork() == 0:
        x = bytearray(b"x") * 400_000_000
        signal.pause()
os.waitpid(-1, 0)
""",
        needs_memory_cgroup=True,
    ),
    _python(
        "fill-the-disk",
        OK,
        """
total, n = 0, 0
for place in ("/scratch", "/tmp", "/dev/shm", "."):
    try:
        while total < 2 << 30:
            with open(f"{place}/{n}", "wb") as file: file.write(bytes(1 << 26))
            total, n = total + (1 << 26), n + 1
    except OSError: continue
if total > 1 << 29: print("HARM: wrote", total, "bytes")
""",
    ),
    _python(
        "fill-the-inodes",
        OK,
        """
import os
n = 0
try:
    while n < 500_000:
        os.mkdir(str(n)); n += 1
    print("HARM: made", n, "folders")
except OSError: pass
""",
    ),
]

REACH = [
    _python(
        "network",
        OK,
        """
import socket
for address in (("127.0.0.1", $port), ("1.1.1.1", 53), ("10.0.0.1", 80)):
    try: socket.create_connection(address, timeout=3); print("HARM: connected to", address)
    except OSError: pass
try: socket.socket(socket.AF_UNIX).connect("\\0$marker"); print("HARM: connected to an abstract socket")
except OSError: pass
for family in (socket.AF_VSOCK, socket.AF_PACKET, socket.AF_ALG, 16):
    try: socket.socket(family, socket.SOCK_DGRAM if family != 16 else socket.SOCK_RAW, 9 if family == 16 else 0)
    except OSError: continue
    print("HARM: has a socket of family", family)
if socket.if_nameindex() != [(1, "lo")]: print("HARM: sees interfaces", socket.if_nameindex())
""",
    ),
    _python(
        "read-files",
        OK,
        """
import os
for path in ("$secret", "/proc/1/root$secret", "/proc/self/root/..$secret", "/etc/passwd", "/etc/shadow", "/root",
             "/home", "/var", "/run", "/sys", "/proc/$victim", "/proc/1/fd/0"):
    if os.path.lexists(path): print("HARM: sees", path)
    try: print(open(path).read())
    except OSError: pass
if os.listdir() != ["program.py"]: print("HARM: sees files of others:", os.listdir())
""",
    ),
    _python(
        "read-environment",
        OK,
        """
import glob, os
print(dict(os.environ))
for path in glob.glob("/proc/*/environ"):
    try: print(open(path).read())
    except OSError: pass
""",
    ),
    _python(
        "write-outside",
        OK,
        """
import os
for folder, folders, _ in os.walk("/"):
    if folder == "/": folders[:] = [f for f in folders if f not in ("proc", "scratch")]
    try: open(os.path.join(folder, "harm"), "w")
    except OSError: continue
    print("HARM: wrote to", folder)
for path in ("$folder/harm", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches",
             "/proc/1/oom_score_adj", "/proc/sys/user/max_user_namespaces"):
    try: open(path, "w").write("1")
    except OSError: continue
    print("HARM: wrote to", path)
""",
    ),
    _python(
        "gain-privileges",
        OK,
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
calls = {"unshare": (0x10000000,), "setns": (0, 0), "mount": (b"none", b"/scratch", b"tmpfs", 0, None),
         "umount2": (b"/proc", 2), "chroot": (b"/usr",), "sethostname": (b"harm", 4), "swapoff": (b"/x",)}
for name, arguments in calls.items():
    if getattr(libc, name)(*arguments) == 0: print("HARM: may", name)
for change in (os.setuid, os.setgid):
    try: change(0); print("HARM: became root")
    except OSError: pass
status = open("/proc/self/status").read()
for line in ("CapEff:\\t0000000000000000", "CapBnd:\\t0000000000000000", "NoNewPrivs:\\t1", "Seccomp:\\t2"):
    if line not in status: print("HARM: is not held by", line)
""",
    ),
    _python(
        "kernel-interfaces",
        OK,
        """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() == "aarch64"
numbers = {"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
           "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
           "open_by_handle_at": (304, 265), "kcmp": (312, 272), "pidfd_getfd": (438, 438), "clone3": (435, 435),
           "name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "process_madvise": (440, 440),
           "mount_setattr": (442, 442), "fsopen": (430, 430), "syslog": (103, 116)}
for name, number in numbers.items():
    if libc.syscall(number[arm], 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 38:
        print("HARM: may call", name, ctypes.get_errno())
""",
    ),
    _python(
        "leave-sockets",
        OK,
        """
import array, socket
# Two sockets that hold each other stay in the kernel until it looks for such pairs, and with them what they carry.
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
named = socket.socket(socket.AF_UNIX)
named.bind("\\0left")  # were it left by the last program, this would fail
socket.socket().bind(("0.0.0.0", 8000))
carried = array.array("i", [s.fileno() for s in (one, other, named)])
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, carried)])
""",
    ),
    _python("leave-files", OK, "for place in ('/scratch', '/tmp', '/dev/shm'): open(place + '/left', 'w').write('x')"),
]

VERDICT = [
    _python("exit-early", EXCEPTION, "import sys\nsys.exit(0)\nassert 1 == 2"),
    _python(
        "exit-early-in-a-test",
        EXCEPTION,
        """
def candidate(x): raise SystemExit(0)
def check(candidate): assert candidate(1) == 2
check(candidate)
""",
    ),
    _python("exit-early-on-the-last-line", EXCEPTION, "import sys; sys.exit(0); assert 1 == 2"),
    _python(
        "exit-early-by-the-library",
        EXCEPTION,
        "import functools, sys\nadd = functools.partial(sys.exit, 0)\nassert add() == 3",
    ),
    _python(
        "exit-early-by-exec",
        EXCEPTION,
        "exec('def f(x): raise SystemExit')\nfor a, b in [(1, 2), (2, 3)]:\n    assert f(a) == b",
    ),
    _python("exit-at-once", EXCEPTION, "import os\nos._exit(0)\nassert 1 == 2"),
    _python("exit-as-another-program", EXCEPTION, "import os\nos.execv('/bin/true', ['true'])"),
    _python(
        "exit-from-a-thread", EXCEPTION, "import os, threading\nthreading.Timer(0, os._exit, [0]).start()\nwhile 1: 0"
    ),
    _python(
        "exit-on-failure",
        EXCEPTION,
        """
import atexit, os, sys
atexit.register(lambda: os._exit(0))
sys.excepthook = lambda *_: os._exit(0)
assert 1 == 2
""",
    ),
    _python("exit-in-a-fork", EXCEPTION, "import os\nif os.fork(): os._exit(0)"),
    _python(
        "override-assert",
        EXCEPTION,
        """
import builtins
class Quiet(BaseException): pass
builtins.AssertionError = Quiet
__builtins__.sorted = lambda x: [3, 2, 1]  # what the next programs call
assert 1 == 2
""",
    ),
    _python(
        "override-equality",
        OK,
        """
import builtins, sys
class Equal(list):
    def __eq__(self, other): return True
builtins.list, builtins.sorted = Equal, lambda x: Equal()
assert Equal() == [3, 2, 1]  # its own verdict it can talk up so; the next program's it cannot
""",
    ),
    _python("crash-the-interpreter", EXCEPTION, "import ctypes\nctypes.string_at(0)"),
    _python("deep-source", STOPPED | {Status.SYNTAX_ERROR}, "x = " + "(" * 100_000 + ")" * 100_000),
    _python("endless-number", TIMEOUT, "x = 10 ** (10 ** 9)", timeout_s=1),
]

BEHAVIOURS = [*PROCESSES, *OUTPUT, *MEMORY_AND_DISK, *REACH, *VERDICT]
