"""Which system calls the sandbox lets through: a list of what language runtimes need, compiled by libseccomp.

All others fail with ENOSYS, as they do on a kernel that has not got them, so runtimes fall back to older ones. What is
missing from the list on purpose: namespaces and mounts, kernel keyrings, tracing and reading other processes, BPF,
io_uring, performance counters, modules, handles of files, inotify (its instances are counted for each user of the
machine), limits of other processes. Sockets are of the Unix, IPv4, IPv6 and routing families;
others, such as VSOCK, are not held by network namespaces. `clone3` fails since its flags cannot be looked at.

libseccomp is called directly: its Python bindings come with distributions only, for the system's Python.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from functools import cache

from flexlora.errors import UsageError

FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
    ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr
    lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev
    pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr
    splice stat statfs statx symlink symlinkat sync_file_range tee truncate umask unlink unlinkat utime
    utimensat utimes vmsplice write writev
"""
MEMORY = """
    brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall
    munmap pkey_alloc pkey_free pkey_mprotect
"""
PROCESSES = """
    arch_prctl capget capset execve execveat exit exit_group fork futex futex_waitv get_robust_list getcpu getegid
    geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid
    gettid getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    pidfd_open pidfd_send_signal prctl restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list
    set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid
    setrlimit setsid setuid sigaltstack sysinfo tgkill tkill uname vfork wait4 waitid
"""
TIME = """
    alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
"""
COMMUNICATION = """
    accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 getpeername getrandom getsockname getsockopt listen mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd poll ppoll pselect6 recvfrom recvmmsg recvmsg
    select semctl semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown
    signalfd signalfd4
"""
ALLOWED = tuple((FILES + MEMORY + PROCESSES + TIME + COMMUNICATION).split())
FOR_THE_SUPERVISOR = ("unshare", "setns", "mount")
"""It starts programs in namespaces of their own; the programs then come under the stricter filter as well."""

NEW_NAMESPACES = 0x7E020000
PERSONALITIES = (0, 0x0040000, 0xFFFFFFFF)
"""Linux, Linux without address randomisation, and asking which it is."""
OWN = 0
"""For a process number: that of who calls."""
ROUTING = 0
"""The netlink protocol by which programs list network interfaces."""

ACT_ALLOW, ACT_KILL_PROCESS, ACT_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
ATTRIBUTE_BAD_ARCHITECTURE, ATTRIBUTE_OPTIMIZE = 2, 8
BINARY_TREE = 2
EQUAL, MASKED_EQUAL = 4, 7
UNKNOWN_SYSCALL = -1


class _Comparison(ctypes.Structure):
    """libseccomp's `struct scmp_arg_cmp`: with MASKED_EQUAL, `first` is the mask and `second` the value."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def syscall_filter(*, starts_programs: bool) -> bytes:
    """The filter as the kernel takes it, an array of `struct sock_filter`; 32-bit system calls end the process.

    Args:
        starts_programs: let through also what the supervisor needs.

    Raises:
        UsageError: libseccomp is not installed.
    """
    library = _library()
    context = library.seccomp_init(ACT_ERRNO | errno.ENOSYS)
    if not context:
        raise MemoryError("seccomp_init")
    try:
        _check(library.seccomp_attr_set(context, ATTRIBUTE_BAD_ARCHITECTURE, ACT_KILL_PROCESS))
        library.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, BINARY_TREE)  # before 2.5 there is only a list
        for name in (*ALLOWED, *(FOR_THE_SUPERVISOR if starts_programs else ())):
            _allow(context, name)
        _allow(context, "clone", (0, MASKED_EQUAL, NEW_NAMESPACES, 0))
        _allow(context, "prlimit64", (0, EQUAL, OWN, 0))  # not its init's, which would end by them
        for value in PERSONALITIES:
            _allow(context, "personality", (0, EQUAL, value, 0))
        for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            for name in ("socket", "socketpair"):
                _allow(context, name, (0, EQUAL, family, 0))
        _allow(context, "socket", (0, EQUAL, socket.AF_NETLINK, 0), (2, EQUAL, ROUTING, 0))
        file = os.memfd_create("filter")
        try:
            _check(library.seccomp_export_bpf(context, file))
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)
    finally:
        library.seccomp_release(context)


def _allow(context: int, name: str, *comparisons: tuple[int, int, int, int]) -> None:
    number = _library().seccomp_syscall_resolve_name(name.encode())
    if number == UNKNOWN_SYSCALL:
        return  # newer than the installed libseccomp: fails as on an older kernel
    array = (_Comparison * len(comparisons))(*(_Comparison(*one) for one in comparisons))
    _check(_library().seccomp_rule_add_array(context, ACT_ALLOW, number, len(comparisons), array))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise UsageError(
            f"The sandbox needs libseccomp, which compiles its system call filter ({error}). "
            "Install it with `apt-get install libseccomp2`."
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_rule_add_array.argtypes = (
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int),
        *(ctypes.c_uint, ctypes.POINTER(_Comparison)),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    return library
