"""The sandbox: bubblewrap, so that untrusted code sees no host and leaves nothing behind.

A sandbox has new user, mount, PID, network (no interface but its own loopback), IPC, UTS and cgroup namespaces and an
unprivileged user. It sees /usr, a few files of /etc, its own /proc, a few harmless devices, all read-only, and one
bounded scratch folder in memory; its environment holds only what stands in ENVIRONMENT.

Programs run in such a sandbox one after another, each started by the supervisor in PID, mount and IPC namespaces of its
own and a network namespace without any socket of an earlier program, with its own /proc and scratch folder, no
capabilities and no way to gain any (`no_new_privs`, no user namespaces), and under a system call filter (`seccomp`).
Process count, file size and number, and memory are limited: each process by resource limits, all together by a cgroup
where we may make one (`cgroups`). When a program ends, everything it started ends. The supervisor itself keeps three
capabilities, within the sandbox's user namespace; programs can neither see nor trace it.

`conformance` holds the proof. Not covered:
- Without a cgroup, a hostile program can use PROCESSES times the memory limit, and memory that is shared besides.
- A hole in a resident compiler could change what it compiles for later programs.
- A hole in the kernel that the allowed system calls reach. Side channels (load, cache timing) stay open.
- /usr is readable, and its files can be locked: nothing secret belongs there.
- A program that attacks its own interpreter, or returns objects that claim to equal anything, can gain its own verdict.
  Languages other than Python, Java, JavaScript and TypeScript cannot tell an early exit with 0 from a pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from flexlora.errors import UsageError
from flexlora.execution.choice import Choice
from flexlora.execution.languages.language import TOOL_PATH


class Sandbox(Choice):
    """What stands between programs and this machine."""

    BUBBLEWRAP = "bubblewrap"
    NONE = "none"
    """Nothing: see `bare`. Never chosen by itself."""


PROCESSES = 128
"""Processes and threads at one time; a JVM alone needs about 20."""
OPEN_FILES = 4096
"""Of each process."""
SCRATCH_BYTES = 256 << 20
"""Also the largest file."""
SCRATCH_FILES = 1 << 16
AFTERMATH_S = 2
"""How long a sandbox may go on after this process was killed."""
NOBODY = "65534"
ENVIRONMENT = {
    "PATH": TOOL_PATH,
    "HOME": "/scratch",
    "TMPDIR": "/scratch",
    "LANG": "C.UTF-8",
    # One core a program: pools sized by the machine would slow the programs beside and meet the process limit.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
SUPERVISOR_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SETPCAP")
"""Within the sandbox's own user namespace only; a program has none."""
NOTHING: Mapping[str, str] = {}
NO_FILES: Mapping[str, int] = {}
DEVICES = ("null", "zero", "full", "random", "urandom")
REMEDY = (
    "Install it with `apt-get install bubblewrap` (0.8 or newer). Where unprivileged user namespaces are switched off, "
    "allow them: `sysctl kernel.unprivileged_userns_clone=1` (Debian's kernels), an AppArmor profile for bwrap or "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04 and newer), or, in a container, "
    "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`. "
    "Programs that you trust run without a sandbox by `--sandbox none`."
)


def sandbox_command(
    argv: Sequence[str],
    *,
    binds: Mapping[str, str] = NOTHING,
    writable: str | None = None,
    info_fd: int | None = None,
    files: Mapping[str, int] = NO_FILES,
    filter_fd: int | None = None,
    starts_programs: bool = False,
) -> list[str]:
    """The command line that runs `argv` in a fresh sandbox.

    Args:
        binds: path in the sandbox -> path of the host: what to show beyond /usr, read-only.
        writable: the one path of `binds` that may be written. Never for untrusted code.
        info_fd: where bubblewrap writes the host PID of the sandbox's init.
        files: path in the sandbox -> descriptor to copy from; read-only, outside of the scratch folder.
        filter_fd: descriptor of the system call filter (`seccomp`).
        starts_programs: keep what the supervisor needs to start programs in namespaces of their own. Without it there
            are no capabilities and no user namespaces.
    """
    keep = [word for name in SUPERVISOR_CAPABILITIES for word in ("--cap-add", name)]
    return [
        *launcher(),
        *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", *(keep if starts_programs else ("--disable-userns",))),
        *("--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox", "--clearenv"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *_system_folders(),
        *(
            word
            for inside, outside in binds.items()
            for word in ("--bind" if inside == writable else "--ro-bind", outside, inside)
        ),
        *(word for path, fd in files.items() for word in ("--perms", "0444", "--file", str(fd), path)),
        *("--proc", "/proc", *_devices()),
        *("--symlink", "scratch", "/tmp"),
        *("--perms", "0700", "--size", str(SCRATCH_BYTES), "--tmpfs", "/scratch"),
        *("--remount-ro", "/", "--chdir", "/scratch"),
        *(("--seccomp", str(filter_fd)) if filter_fd is not None else ()),
        *(("--info-fd", str(info_fd)) if info_fd is not None else ()),
        *("--", *argv),
    ]


@cache
def launcher() -> tuple[str, ...]:
    """What starts bubblewrap, and bubblewrap.

    setpriv makes root an ordinary user: the kernel exempts root from the limit on processes, and root's files would
    lie open if bubblewrap had a hole.

    bubblewrap and its init die with their parents, but init only once it is up; were bubblewrap killed before, init
    would wait for it forever. So our death does not reach bubblewrap at once: the kernel tells `timeout` by a
    SIGCONT, and `timeout` (with no time limit, used for nothing else) passes on this harmless signal and kills
    AFTERMATH_S later. Until then a started shell has met the end of its input and gone.

    Raises:
        UsageError: a tool is missing.
    """
    tools = {name: shutil.which(name) for name in ("bwrap", "setpriv", "timeout")}
    bwrap, setpriv, timeout = tools.values()
    if bwrap is None:
        raise UsageError(f"The sandbox needs `bwrap` (bubblewrap), which is not on PATH. {REMEDY}")
    if setpriv is None or timeout is None:
        raise UsageError(
            "The sandbox needs `setpriv` and `timeout`, which are not on PATH: `apt-get install util-linux coreutils`."
        )
    become = ("--reuid", NOBODY, "--regid", NOBODY, "--clear-groups") if os.geteuid() == 0 else ()
    watch = ("--foreground", "--signal=CONT", f"--kill-after={AFTERMATH_S}", "0")
    return (setpriv, *become, "--pdeathsig", "CONT", "--", timeout, *watch, bwrap)


def version() -> str:
    """bubblewrap's name and version. Raises: UsageError: it is missing."""
    return subprocess.run([launcher()[-1], "--version"], capture_output=True, text=True, check=False).stdout.strip()


@cache
def _system_folders() -> tuple[str, ...]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        folder = Path("/", name)
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            words += ["--ro-bind", str(folder), str(folder)]
    # The folders that bubblewrap makes for these on the way would be its owner's alone without --perms.
    words += ["--perms", "0755", "--dir", "/etc"]
    for path in (Path("/etc/alternatives"), Path("/etc/ld.so.cache"), *sorted(Path("/etc").glob("java-*"))):
        words += ["--ro-bind-try", str(path), str(path)]
    return tuple(words)


def _devices() -> list[str]:
    """bubblewrap's own --dev has an unbounded, writable /dev/shm and a terminal multiplexer; this has neither."""
    words = ["--perms", "0755", "--dir", "/dev", "--symlink", "/scratch", "/dev/shm"]
    for name in DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        words += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return words
