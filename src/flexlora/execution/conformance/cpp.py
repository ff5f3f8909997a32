"""Hostile programs in C++, where they differ: system calls made directly, memory without a runtime."""

from __future__ import annotations

from flexlora.execution.conformance.behaviour import OK, OUTPUT_LIMIT, TIMEOUT, Behaviour
from flexlora.execution.verdict import Status

PROGRAM = """
#include <bits/stdc++.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main() {
    %s
}
"""


def _cpp(
    name: str, ends: frozenset[Status], body: str, *, timeout_s: float = 20.0, needs_memory_cgroup: bool = False
) -> Behaviour:
    return Behaviour(
        name=name,
        language="cpp",
        program=PROGRAM % body,
        ends=ends,
        timeout_s=timeout_s,
        needs_memory_cgroup=needs_memory_cgroup,
    )


BEHAVIOURS = [
    _cpp("fork-bomb", TIMEOUT, "for (;;) fork();", timeout_s=1),
    _cpp(
        "daemon",
        OK,
        'if (fork() == 0) { setsid(); if (fork() == 0) execl("/bin/sh", "sh", "-c", "sleep 1000; true", "$marker",'
        " NULL); _exit(0); } wait(NULL);",
    ),
    _cpp("sleep-forever", TIMEOUT, "for (;;) pause();", timeout_s=0.5),
    _cpp(
        "ignore-signals",
        TIMEOUT,
        "for (int s = 1; s < 65; s++) signal(s, SIG_IGN); volatile int i = 0; for (;;) i++;",
        timeout_s=1,
    ),
    _cpp("flood-stdout", OUTPUT_LIMIT, "for (;;) puts(std::string(100000, 120).c_str());"),
    _cpp(
        "allocate-all-memory",
        frozenset({Status.OUT_OF_MEMORY, Status.EXCEPTION}),
        "std::vector<char*> v; for (;;) { char* p = new char[1 << 24]; memset(p, 1, 1 << 24); v.push_back(p); }",
    ),
    _cpp(
        "allocate-in-many-processes",
        frozenset({Status.OUT_OF_MEMORY}),
        "int ends[2]; pipe(ends); for (int i = 0; i < 16; i++) if (fork() == 0) { char* p = new char[400000000];"
        " memset(p, 1, 400000000); write(ends[1], p, 1); for (;;) pause(); }"
        " signal(SIGCHLD, [](int) { _exit(1); }); char c; for (int i = 0; i < 16; i++) read(ends[0], &c, 1);"
        ' puts("HARM: its processes have 6.4 GB");',
        needs_memory_cgroup=True,
    ),
    _cpp(
        "overflow-the-stack",
        frozenset({Status.EXCEPTION}),
        "std::function<int(int)> f = [&](int i) { return f(i + 1) + 1; }; return f(0);",
    ),
    _cpp(
        "kernel-interfaces",
        OK,
        "long calls[] = {SYS_add_key, SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_io_uring_setup, SYS_ptrace,"
        " SYS_userfaultfd, SYS_unshare, SYS_mount, SYS_setns, SYS_process_vm_readv, SYS_clone3};"
        " for (long n : calls) if (syscall(n, 0, 0, 0, 0, 0) != -1 || errno != ENOSYS)"
        ' printf("HARM: may call %ld\\n", n);'
        ' if (socket(AF_VSOCK, SOCK_STREAM, 0) != -1) puts("HARM: has a socket to the hypervisor");',
    ),
    _cpp(
        "new-namespaces",
        OK,
        "for (long flag : {0x10000000L, 0x20000L, 0x20000000L, 0x40000000L, 0x8000000L}) {"
        " long pid = syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0); if (pid == 0) _exit(0);"
        ' if (pid > 0) printf("HARM: made a namespace %lx\\n", flag); }',
    ),
    _cpp(
        "other-system-call-tables",
        frozenset({Status.EXCEPTION}),
        # getpid, by the 32-bit table and by that of x32; either must end the program
        "#if defined(__x86_64__)\n"
        '    if (fork() == 0) { long r; asm volatile("int $$0x80" : "=a"(r) : "a"(20L)); puts("HARM: 32-bit call"); }\n'
        '    int status; wait(&status); if (!WIFSIGNALED(status)) puts("HARM: not ended by a 32-bit call");\n'
        '    syscall(0x40000000 + 39); puts("HARM: x32 call");\n'
        "#else\n    abort();\n#endif\n",
    ),
]
