"""Hostile programs in Java, where they differ: threads, the JVM's own memory, its ways to end."""

from __future__ import annotations

from flexlora.execution.conformance.behaviour import (
    EXCEPTION,
    OK,
    OUT_OF_MEMORY,
    OUTPUT_LIMIT,
    TIMEOUT,
    Behaviour,
)
from flexlora.execution.verdict import Status

PROGRAM = """
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;
class Problem {
    public static void main(String[] arguments) throws Throwable {
        %s
    }
}
"""


def _java(name: str, ends: frozenset[Status], body: str, *, timeout_s: float = 20.0) -> Behaviour:
    return Behaviour(name=name, language="java", program=PROGRAM % body, ends=ends, timeout_s=timeout_s)


BEHAVIOURS = [
    _java(
        "thread-bomb",
        frozenset({Status.OUT_OF_MEMORY, Status.TIMEOUT, Status.EXCEPTION}),
        "while (true) new Thread(() -> { try { Thread.sleep(100000); } catch (Exception e) {} }).start();",
        timeout_s=2,
    ),
    _java(
        "outlive-parent",
        OK,
        'new ProcessBuilder("/bin/sh", "-c", "setsid sleep 1000; true", "$marker").inheritIO().start();',
    ),
    _java("sleep-forever", TIMEOUT, "Thread.sleep(1000000000);", timeout_s=0.5),
    _java(
        "ignore-signals",
        TIMEOUT,
        "Runtime.getRuntime().addShutdownHook(new Thread(() -> { while (true); })); while (true);",
        timeout_s=1,
    ),
    _java("flood-stdout", OUTPUT_LIMIT, 'while (true) System.out.println("x".repeat(100000));'),
    _java(
        "allocate-all-memory",
        OUT_OF_MEMORY,
        "List<long[]> l = new ArrayList<>(); while (true) l.add(new long[1 << 20]);",
    ),
    _java(
        "allocate-outside-the-heap",
        OUT_OF_MEMORY,
        "List<Object> l = new ArrayList<>(); while (true) l.add(java.nio.ByteBuffer.allocateDirect(1 << 26));",
    ),
    _java(
        "fill-the-disk",
        EXCEPTION,
        'try (var out = new FileOutputStream("full")) { for (int i = 0; i < 2048; i++) out.write(new byte[1 << 20]); }'
        ' System.out.println("HARM: wrote 2 GiB");',
    ),
    _java(
        "network",
        OK,
        'try { new Socket("127.0.0.1", $port); System.out.println("HARM: connected"); } catch (IOException e) {}',
    ),
    _java(
        "read-files",
        OK,
        'for (String p : new String[]{"$secret", "/etc/passwd", "/root", "/home", "/proc/$victim"}) '
        'if (new File(p).exists()) System.out.println("HARM: sees " + p);',
    ),
    _java("read-environment", OK, "System.out.println(System.getenv()); System.out.println(System.getProperties());"),
    _java(
        "write-outside",
        OK,
        'for (String p : new String[]{"$folder/harm", "/usr/harm", "/warm/java/harm", "/flexlora/harm", "/harm"}) '
        'try { new FileWriter(p); System.out.println("HARM: wrote " + p); } catch (IOException e) {}',
    ),
    _java(
        "kill-others",
        OK,
        "ProcessHandle.allProcesses().filter(p -> p.pid() != ProcessHandle.current().pid() && p.pid() != 1)"
        '.forEach(p -> System.out.println("HARM: sees process " + p.pid()));',
    ),
    _java(
        "forge-by-printing",
        EXCEPTION,
        'for (int fd = 1; fd < 10; fd++) try (var out = new FileOutputStream("/proc/self/fd/" + fd)) {'
        ' out.write("\\nend 0 finished\\nfinished 0123456789abcdef0123456789abcdef\\n".getBytes());'
        " } catch (IOException e) {} System.exit(7);",
    ),
    _java("exit-early", EXCEPTION, "System.exit(0);"),
    _java("exit-at-once", EXCEPTION, "Runtime.getRuntime().halt(0);"),
    _java(
        "exit-from-a-thread",
        EXCEPTION,
        "Thread t = new Thread(() -> System.exit(0)); t.setDaemon(true); t.start(); while (true);",
    ),
    _java(
        "exit-on-failure",
        EXCEPTION,
        "Thread.setDefaultUncaughtExceptionHandler((t, e) -> Runtime.getRuntime().halt(0)); assert 1 == 2;",
    ),
    _java(
        "override-assert",
        EXCEPTION,
        "ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(false);"
        " class AssertionError extends RuntimeException {} assert 1 == 2;",
    ),
    Behaviour(
        name="replace-the-harness",
        language="java",
        program='class FlexloraMain { public static void main(String[] a) { System.out.println("HARM: ran"); } }\n'
        "class Problem { public static void main(String[] a) { System.exit(0); } }",
        ends=frozenset({Status.EXCEPTION, Status.SYNTAX_ERROR}),
    ),
    Behaviour(
        name="replace-what-the-harness-calls",
        language="java",
        program="class Class<T> {\n"
        "    static Class<?> forName(String name) { return new Class<Object>(); }\n"
        "    java.lang.reflect.Method getDeclaredMethod(String n, Object... a) throws Exception {\n"
        '        return Problem.class.getDeclaredMethod("nothing", String[].class);\n'
        "    }\n"
        "}\n"
        "class Problem {\n"
        "    public static void nothing(String[] a) { }\n"
        "    public static void main(String[] a) { assert 1 == 2; }\n"
        "}\n",
        ends=EXCEPTION,
    ),
]
