"""Programs that mean harm: none is done, nothing stays behind, and the next program's verdict is right."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexlora.execution import Mode, Program, Verdict
from flexlora.execution.judge import judge
from flexlora.execution.runner import Runner
from flexlora.execution.worker import OUTPUT_BYTES

LeftBehind = Callable[[str], list[str]]
WaitUntil = Callable[[Callable[[], object]], None]


Run = Callable[..., Verdict]


@pytest.fixture(params=list(Mode))
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a program in each mode, and then sees that the next verdicts are right.

    One runner runs them all, so that in warm modes the sandbox is the one that met the harm.
    """
    runner = Runner(request.param)

    def run(source: str, timeout_s: float = 20) -> Verdict:
        program = Program("hostile", 0, "py", source, timeout_s)
        return judge(program, runner.run(program))

    try:
        yield run
        assert run("assert 1 + 1 == 2").status == "OK"
        assert run("assert 1 + 1 == 3").status == "Exception"
    finally:
        runner.close()


# Processes


def test_a_fork_bomb_is_ended_with_all_its_processes(run: Run, left_behind: LeftBehind, marker: str) -> None:
    verdict = run(
        f"import os\nos.execv('/usr/bin/env', ['env', 'python3', '-c', '''import os\n"
        f"while True:\n  try: os.fork()\n  except OSError: pass\n''', {marker!r}])",
        timeout_s=1,
    )
    assert verdict.status == "Timeout"
    assert left_behind(marker) == []


def test_the_number_of_processes_is_limited(run: Run) -> None:
    verdict = run("""
import os, time
n = 0
try:
    while n < 1000:
        if os.fork() == 0:
            time.sleep(1000)
        n += 1
except BlockingIOError:
    print("stopped at", n)
""")
    assert verdict.passed
    assert 10 < int(verdict.stdout.split()[-1]) < 200


@pytest.mark.parametrize("as_user", [0, 1000])
def test_the_number_of_processes_is_limited_for_root_and_for_ordinary_users(run: Run, as_user: int) -> None:
    source = Path(__file__).parents[2] / "src"
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("needs root, to become another user, and a Python that others can read")
    program = (
        "import threading, time\nn = 0\n"
        "try:\n  while n < 1000:\n    threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); n += 1\n"
        "except RuntimeError: pass\n"
        "print(n)"
    )
    command = (
        "import sys\n"
        "if sys.version_info < (3, 11): sys.exit(77)\n"
        f"try:\n  sys.path.insert(0, {str(source)!r}); from flexlora.execution import run_program\n"
        "except ImportError: sys.exit(77)\n"
        f"v = run_program('py', {program!r}); print(v.status, v.stdout or v.stderr, v.cpu_s)"
    )
    become = ["setpriv", "--reuid", str(as_user), "--regid", str(as_user), "--clear-groups", "--"]
    done = subprocess.run([*become, python, "-c", command], capture_output=True, text=True, cwd="/", check=False)
    if done.returncode == 77:
        pytest.skip("that user cannot read this checkout")
    status, count, _ = done.stdout.split()
    assert status == "OK", done
    assert 10 < int(count) < 200


@pytest.mark.parametrize("ending", ["", "os._exit(0)", "raise SystemExit(3)", "os.kill(os.getpid(), 9)"])
def test_a_daemon_in_its_own_session_does_not_outlive_the_program(
    run: Run, ending: str, left_behind: LeftBehind, marker: str
) -> None:
    verdict = run(f"""
import os, subprocess, sys, time
code = "import os, signal, sys, time; [signal.signal(s, signal.SIG_IGN) for s in range(1, 32) if s not in (9, 19)]"
code += "; print('up', flush=True); [os.close(i) for i in range(3)] if sys.argv[2] == 'close' else 0; time.sleep(1000)"
for what in ("close", "hold"):
    child = subprocess.Popen([sys.executable, "-c", code, {marker!r}, what], start_new_session=True,
                             stdout=subprocess.PIPE if what == "close" else None)
    if child.stdout: child.stdout.readline()
{ending}
""")
    assert verdict.exit_code == {"": 0, "os._exit(0)": 0, "raise SystemExit(3)": 3}.get(ending, 137)
    assert left_behind(marker) == []


def test_a_doubly_forked_daemon_does_not_outlive_a_timeout(run: Run, left_behind: LeftBehind, marker: str) -> None:
    verdict = run(
        f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "while True: pass", {marker!r}])
    os._exit(0)
while True: pass
""",
        timeout_s=1,
    )
    assert verdict.status == "Timeout"
    assert left_behind(marker) == []


def test_ignoring_all_signals_does_not_help_against_the_deadline(run: Run) -> None:
    verdict = run(
        "import signal\nfor s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        timeout_s=1,
    )
    assert (verdict.status, verdict.exit_code) == ("Timeout", None)


def test_sleeping_forever_is_a_timeout(run: Run) -> None:
    assert run("import time; time.sleep(1e6)", timeout_s=0.5).status == "Timeout"


def test_stopping_itself_is_a_timeout(run: Run) -> None:
    assert run("import os; os.kill(os.getpid(), 19)", timeout_s=0.5).status == "Timeout"


def test_the_cpu_time_of_children_killed_at_the_deadline_is_counted(run: Run) -> None:
    verdict = run("import os\nos.fork()\nwhile True: pass", timeout_s=1)
    assert verdict.status == "Timeout"
    assert verdict.cpu_s > 0.5


def test_other_processes_cannot_be_seen_killed_or_traced(run: Run) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        verdict = run(f"""
import ctypes, os
print(sorted(int(p) for p in os.listdir("/proc") if p.isdigit()))
for pid in ({victim.pid}, {os.getpid()}):
    for attempt in (lambda: os.kill(pid, 9), lambda: os.killpg(pid, 9), lambda: os.stat(f"/proc/{{pid}}")):
        try: attempt()
        except (ProcessLookupError, FileNotFoundError): continue
        raise SystemExit("reached it")
    assert ctypes.CDLL(None).ptrace(16, pid, 0, 0) == -1
os.kill(1, 9)  # its own init takes no such signal
try: os.kill(-1, 9)
except ProcessLookupError: pass  # nobody else is there
""")
        assert verdict.passed, verdict
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_privileges_cannot_be_gained(run: Run) -> None:
    verdict = run("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == -1, "new user namespace"
assert libc.mount(b"none", b"/scratch", b"tmpfs", 0, None) == -1
assert libc.chroot(b"/usr") == -1
for call in (os.setuid, os.setgid):
    try: call(0)
    except OSError: continue
    raise SystemExit(call)
status = open("/proc/self/status").read()
assert "CapEff:\\t0000000000000000" in status and "CapBnd:\\t0000000000000000" in status
assert "NoNewPrivs:\\t1" in status
""")
    assert verdict.passed, verdict


# Output and input


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_flood_is_cut_off_and_not_kept(run: Run, stream: str) -> None:
    verdict = run(f"import sys\nfor _ in range(100): sys.{stream}.write('x' * 1_000_000)", timeout_s=30)
    assert verdict.status == "OutputLimit"
    assert not verdict.passed
    assert len(verdict.stdout) + len(verdict.stderr) < 100_000


def test_a_chatty_program_passes(run: Run) -> None:
    verdict = run(
        "import sys\nfor _ in range(5000):\n  sys.stdout.write('o' * 999 + '\\n'); sys.stderr.write('e' * 999 + '\\n')"
    )
    assert verdict.passed
    assert verdict.stdout.startswith("ooo")
    assert f"[... {5_000_000 - 16 * 1024} bytes left out ...]" in verdict.stdout
    assert len(verdict.stderr) < 20_000


def test_output_that_is_no_utf8_is_recorded_with_replacements(run: Run) -> None:
    assert run("import os; os.write(1, b'a\\xff\\x00b')").stdout == "a\ufffd\0b"


def test_closing_its_outputs_changes_nothing(run: Run) -> None:
    closing = "import os\nfor fd in range(3): os.close(fd)\n"
    assert run(closing).passed
    assert run(closing + "os._exit(1)").status == "Exception"
    assert run(closing + "import time; time.sleep(1000)", timeout_s=0.5).status == "Timeout"


def test_a_socket_that_outlives_its_program_is_not_met_by_the_next(run: Run) -> None:
    left = """
import array, socket
# Two sockets that hold each other stay in the kernel until it looks for such pairs, and with them what they carry.
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
named = socket.socket(socket.AF_UNIX)
named.bind("\\0left")
carried = array.array("i", [s.fileno() for s in (one, other, named)])
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, carried)])
"""
    taken = "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0left')\nsocket.socket().bind(('0.0.0.0', 8000))"
    assert run(left).passed
    assert run(taken).passed
    assert run(taken + " ").passed


def test_signals_to_init_change_nothing(run: Run) -> None:
    verdict = run("""
import os, signal
for number in sorted(signal.valid_signals()):
    try: os.kill(1, number)
    except OSError: pass
raise SystemExit(7)
""")
    assert (verdict.status, verdict.exit_code) == ("Exception", 7), verdict


def test_an_interrupt_is_still_an_exception(run: Run) -> None:
    assert run("import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt: pass").passed


def test_flags_of_standard_input_are_not_met_by_the_next(run: Run) -> None:
    source = "import fcntl, os\nassert not fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK\n"
    assert run(source + "fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)").passed
    assert run(source).passed


def test_a_program_that_ends_as_it_is_stopped_takes_none_with_it(run: Run) -> None:
    for _ in range(30):
        run(f"import os\nos.write(1, bytes({OUTPUT_BYTES + 1000}))\nos._exit(0)")
        assert run("").status == "OK"


def test_standard_input_is_at_its_end(run: Run) -> None:
    assert (
        run("import sys; assert sys.stdin.read() == ''\ntry: input()\nexcept EOFError: print('end')").stdout == "end\n"
    )


def test_a_verdict_cannot_be_forged_by_printing_or_through_inherited_descriptors(run: Run) -> None:
    verdict = run("""
import os
assert {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")} <= {0, 1, 2, 4}
for fd in range(100):
    try: os.write(fd, b'\\nend 0\\ncompiled 0\\nready\\n{"status": "OK", "passed": true, "exit-code": 0}\\n')
    except OSError: pass
raise SystemExit(7)
""")
    assert (verdict.status, verdict.exit_code) == ("Exception", 7), verdict


# Memory and disk


def test_allocating_all_memory_is_out_of_memory(run: Run) -> None:
    verdict = run("x = []\nwhile True: x.append(bytearray(10_000_000))")
    assert (verdict.status, verdict.passed) == ("OutOfMemory", False)


def test_mapping_shared_memory_is_limited_too(run: Run) -> None:
    verdict = run("import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(100)]")
    assert not verdict.passed
    assert "Cannot allocate memory" in verdict.stderr


@pytest.mark.parametrize("folder", ["/scratch", "/tmp", "/dev/shm"])
def test_the_disk_cannot_be_filled(run: Run, folder: str) -> None:
    free = shutil.disk_usage("/").free
    verdict = run(f"""
import errno
written, chunk = 0, b"x" * (1 << 20)
try:
    for i in range(100):
        with open(f"{folder}/file{{i}}", "wb", buffering=0) as file:
            for _ in range(100):
                written += file.write(chunk)
except OSError as error:
    print(error.errno == errno.ENOSPC, written)
""")
    assert verdict.stdout.startswith("True ")
    assert int(verdict.stdout.split()[1]) <= 256 << 20
    assert shutil.disk_usage("/").free > free - (1 << 30)  # others write, too


def test_nothing_outside_the_scratch_folder_can_be_written(run: Run) -> None:
    verdict = run("""
import os
for folder, _, _ in os.walk("/"):
    if folder.startswith(("/proc", "/scratch", "/sys")): continue
    try: open(os.path.join(folder, "harm"), "w")
    except OSError: continue
    print(folder)
for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"):
    try: open(path, "w").write("1")
    except OSError: continue
    print(path)
""")
    # /tmp and /dev/shm are the scratch folder, and symlinks are not walked into.
    assert (verdict.status, verdict.stdout) == ("OK", "")


def test_a_program_finds_nothing_of_the_one_before(run: Run) -> None:
    assert run("open('/tmp/left', 'w').write('x'); open('left2', 'w').write('x')").passed
    assert run("import os; print(os.listdir('/scratch'))").stdout == "['program.py']\n"


# What it can see and reach


def test_folders_of_the_host_cannot_be_seen(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    places = [
        "/root",
        "/home",
        "/work",
        "/etc/passwd",
        "/etc/shadow",
        "/var",
        "/run",
        "/boot",
        "/sys",
        "/mnt",
    ]
    places += [str(tmp_path), str(Path.cwd()), str(Path.home())]
    verdict = run(f"import os; print([p for p in {places!r} if os.path.lexists(p)], os.listdir('/'))")
    seen, _, top = verdict.stdout.partition("] ")
    assert seen == "["
    assert set(eval(top)) <= {
        "bin",
        "dev",
        "etc",
        "flexlora",
        "lib",
        "lib32",
        "lib64",
        "proc",
        "sbin",
        "scratch",
        "tmp",
        "usr",
    }


def test_secrets_of_the_environment_cannot_be_seen(run: Run, monkeypatch: pytest.MonkeyPatch, marker: str) -> None:
    monkeypatch.setenv("SECRET_TOKEN", marker)
    verdict = run("""
import glob, os
print(dict(os.environ))
for path in glob.glob("/proc/*/environ"):
    try: print(path, open(path).read())
    except OSError: pass
""")
    assert verdict.passed
    assert "SECRET_TOKEN" not in verdict.stdout
    assert marker not in verdict.stdout


def test_no_network_is_reached_not_even_the_hosts_loopback(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        verdict = run(f"""
import socket
for address in (("127.0.0.1", {server.getsockname()[1]}), ("1.1.1.1", 53), ("10.0.0.1", 80)):
    try: socket.create_connection(address, timeout=3)
    except OSError as error: print(error.errno); continue
    raise SystemExit("connected")
print(socket.if_nameindex())
""")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert verdict.passed
    assert verdict.stdout.endswith("[(1, 'lo')]\n")


def test_abstract_sockets_of_the_host_are_not_reached(run: Run, marker: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{marker}")
        server.listen()
        verdict = run(f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{marker}')")
    assert "ConnectionRefusedError" in verdict.stderr


@pytest.mark.slow
def test_harm_in_many_ways_at_a_time_leaves_the_verdicts_of_the_others_right(
    left_behind: LeftBehind, wait_until: WaitUntil, marker: str
) -> None:
    from flexlora.execution import Program, execute

    harm = {
        "fork": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        "flood": "while True: print('x' * 100_000)",
        "memory": "x = []\nwhile True: x.append(bytearray(1 << 24))",
        "daemon": f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while 1: 0', {marker!r}])",
        "kill": "import os\nfor pid in (1, -1, 0):\n  try: os.kill(pid, 9)\n  except ProcessLookupError: pass",
    }
    programs = [
        Program(f"{name}{i}", 0, "py", source, 1.0 if name == "fork" else 60.0)
        for i in range(2)
        for name, source in (harm | {"good": "pass", "bad": "assert False"}).items()
    ]
    statuses = {verdict.task_id: verdict.status for verdict in execute(programs, workers=2)}
    expected = {
        "fork": "Timeout",
        "flood": "OutputLimit",
        "memory": "OutOfMemory",
        "daemon": "OK",
        "kill": "Exception",
        "good": "OK",
        "bad": "Exception",
    }
    assert statuses == {f"{name}{i}": status for i in range(2) for name, status in expected.items()}
    assert left_behind(marker) == []
