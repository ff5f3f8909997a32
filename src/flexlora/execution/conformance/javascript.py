"""Hostile programs in JavaScript and TypeScript, where they differ."""

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


def _js(name: str, ends: frozenset[Status], program: str, *, timeout_s: float = 20.0) -> Behaviour:
    return Behaviour(name=name, language="js", program=program, ends=ends, timeout_s=timeout_s)


BEHAVIOURS = [
    _js(
        "fork-bomb",
        frozenset({Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.EXCEPTION}),
        "const { spawn } = require('child_process');\n"
        "for (;;) { try { spawn(process.execPath, ['-e', 'for(;;);', '$marker']).on('error', () => {}); } catch {} }",
        timeout_s=1,
    ),
    _js(
        "daemon",
        OK,
        "require('child_process').spawn('/bin/sh', ['-c', 'sleep 1000; true', '$marker'],"
        " { detached: true, stdio: 'ignore' }).unref();",
    ),
    _js("sleep-forever", TIMEOUT, "setInterval(() => {}, 1000);", timeout_s=0.5),
    _js(
        "ignore-signals",
        TIMEOUT,
        "for (const s of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(s, () => {});\nfor (;;);",
        timeout_s=1,
    ),
    _js("flood-stdout", OUTPUT_LIMIT, "for (;;) require('fs').writeSync(1, 'x'.repeat(100000));"),
    _js("allocate-all-memory", OUT_OF_MEMORY, "const a = [];\nfor (;;) a.push(new Array(100000).fill({}));"),
    _js("allocate-outside-the-heap", OUT_OF_MEMORY, "const a = [];\nfor (;;) a.push(Buffer.alloc(1 << 26, 1));"),
    _js(
        "network",
        OK,
        "require('net').connect($port, '127.0.0.1').on('connect', () => console.log('HARM: connected'))"
        ".on('error', () => {});",
    ),
    _js(
        "read-files",
        OK,
        "for (const p of ['$secret', '/etc/passwd', '/root', '/home', '/proc/$victim'])\n"
        "  if (require('fs').existsSync(p)) console.log('HARM: sees', p);",
    ),
    _js("read-environment", OK, "console.log(process.env);"),
    _js(
        "write-outside",
        OK,
        "for (const p of ['$folder/harm', '/usr/harm', '/flexlora/harm', '/harm'])\n"
        "  try { require('fs').writeFileSync(p, 'x'); console.log('HARM: wrote', p); } catch {}",
    ),
    _js("kill-others", OK, "try { process.kill($victim, 'SIGKILL'); console.log('HARM: killed'); } catch {}"),
    _js(
        "forge-by-printing",
        EXCEPTION,
        "for (let fd = 1; fd < 30; fd++)\n"
        "  try { require('fs').writeSync(fd, '\\nend 0 finished\\nfinished ' + '0'.repeat(32)); } catch {}\n"
        "process.exit(7);",
    ),
    _js("exit-early", EXCEPTION, "process.exit(0);"),
    _js("exit-at-once", EXCEPTION, "process.reallyExit(0);"),
    _js("exit-in-a-handler", EXCEPTION, "process.on('uncaughtException', () => process.exit(0));\nthrow 1;"),
    _js("pretend-the-end", EXCEPTION, "process.emit('beforeExit', 0);\nprocess.exit(0);"),
    _js(
        "pretend-the-end-without-a-trace",
        EXCEPTION,
        "Error.stackTraceLimit = 0;\nError.prepareStackTrace = () => '';\n"
        "process.emit('beforeExit', 0);\nprocess.exit(0);",
    ),
    _js(
        "pretend-the-end-under-another-name",
        EXCEPTION,
        "process.argv[1] = '@';\nprocess.emit('beforeExit', 0);\nprocess.exit(0);",
    ),
    _js(
        "pretend-the-end-from-nowhere",
        EXCEPTION,
        "require('vm').runInThisContext('(f) => setTimeout(f, 1)')("
        "require('vm').runInThisContext('() => { process.emit(\"beforeExit\", 0); process.reallyExit(0); }'));",
    ),
    _js(
        "pretend-the-end-from-the-depth",
        EXCEPTION,
        "require('vm').runInThisContext('(function f(p, n) { n ? f(p, n - 1) : p.emit(\"beforeExit\", 0); })')"
        "(process, 300);\nprocess.exit(0);",
    ),
    _js(
        "catch-all-failures",
        EXCEPTION,
        "process.on('uncaughtException', () => {});\nrequire('assert').equal(1, 2);",
    ),
    _js(
        "capture-all-failures",
        EXCEPTION,
        "process.setUncaughtExceptionCaptureCallback(() => {});\nrequire('assert').equal(1, 2);",
    ),
    _js(
        "catch-all-rejections",
        EXCEPTION,
        "process.on('unhandledRejection', () => {});\n(async () => require('assert').equal(1, 2))();",
    ),
    Behaviour(name="exit-early", language="ts", program="declare var process: any;\nprocess.exit(0);", ends=EXCEPTION),
    Behaviour(
        name="outlive-parent",
        language="ts",
        program="declare var require: any;\n"
        "require('child_process').spawn('/bin/sh', ['-c', 'sleep 1000; true', '$marker'],"
        " { detached: true, stdio: 'ignore' }).unref();",
        ends=OK,
    ),
    Behaviour(
        name="sleep-forever",
        language="ts",
        program="setInterval(() => {}, 1000);",
        ends=TIMEOUT,
        timeout_s=0.5,
    ),
]
