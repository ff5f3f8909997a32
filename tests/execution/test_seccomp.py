"""The system call filter: what it holds, and that nothing runs where it cannot be made."""

from __future__ import annotations

import ctypes
import struct

import pytest

from flexlora.errors import UsageError
from flexlora.execution import run_program, seccomp
from flexlora.execution.seccomp import ALLOWED, FOR_THE_SUPERVISOR, syscall_filter


def test_every_name_is_a_system_call() -> None:
    """A misspelt one would be passed over, as one that an older libseccomp does not know."""
    library = ctypes.CDLL("libseccomp.so.2")
    names = (*ALLOWED, *FOR_THE_SUPERVISOR, "clone", "personality", "prlimit64", "socket", "socketpair")
    assert [name for name in names if library.seccomp_syscall_resolve_name(name.encode()) == -1] == []
    assert len(set(names)) == len(names)


def test_only_the_supervisors_filter_lets_namespaces_through() -> None:
    ours, programs = (syscall_filter(starts_programs=flag) for flag in (True, False))
    assert len(ours) > len(programs)
    for content in (ours, programs):
        assert len(content) % 8 == 0
        returns = {k for code, _, _, k in struct.iter_unpack("<HBBI", content) if code == 0x06}
        assert returns == {0x7FFF0000, 0x80000000, 0x00050000 | 38}  # allow, kill the process, ENOSYS


def test_without_the_library_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    seccomp._library.cache_clear()
    seccomp.syscall_filter.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    try:
        with pytest.raises(UsageError, match="apt-get install libseccomp2"):
            syscall_filter(starts_programs=False)
    finally:
        monkeypatch.undo()
        seccomp._library.cache_clear()


def test_runtimes_do_without_what_is_refused() -> None:
    source = """
import concurrent.futures, multiprocessing, os, selectors, socket, tempfile, threading
with concurrent.futures.ThreadPoolExecutor(4) as pool: assert list(pool.map(abs, [-1, 2])) == [1, 2]
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
assert socket.if_nameindex() == [(1, "lo")]
assert os.sched_getaffinity(0) and os.getloadavg()
one, other = socket.socketpair(); one.send(b"x"); assert other.recv(1) == b"x"
with tempfile.NamedTemporaryFile() as file: os.posix_fallocate(file.fileno(), 0, 4096)
"""
    verdict = run_program("py", source)
    assert verdict.passed, verdict.stderr
