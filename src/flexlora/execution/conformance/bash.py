"""Hostile programs in Bash, where they differ: jobs in the background, and what models write without meaning to."""

from __future__ import annotations

from flexlora.execution.conformance.behaviour import OK, OUTPUT_LIMIT, STOPPED, TIMEOUT, Behaviour
from flexlora.execution.verdict import Status


def _bash(name: str, ends: frozenset[Status], program: str, *, timeout_s: float = 20.0) -> Behaviour:
    return Behaviour(name=name, language="sh", program=program, ends=ends, timeout_s=timeout_s)


BEHAVIOURS = [
    _bash("fork-bomb", STOPPED | {Status.OK}, ":(){ :|:& };:\nwait", timeout_s=1),
    _bash("growing-child", OK, "(x=x; while :; do x=$$x$$x; done; : $marker) 2>/dev/null &\nsleep 0.1"),
    _bash("daemon", OK, "nohup setsid sh -c 'trap \"\" HUP TERM INT; sleep 1000; true' $marker >/dev/null 2>&1 &"),
    _bash(
        "outlive-deadline",
        TIMEOUT,
        "sh -c 'sleep 1000; true' $marker &\nsh -c 'sleep 1000; true' $marker",
        timeout_s=0.5,
    ),
    _bash("ignore-signals", TIMEOUT, "trap '' HUP INT TERM QUIT\nwhile :; do :; done", timeout_s=1),
    _bash("flood-stdout", OUTPUT_LIMIT, "yes"),
    _bash("read-stdin", OK, "read -r line && echo HARM: read\ncat"),
    _bash("raise-limits", OK, "ulimit -u unlimited 2>/dev/null && echo HARM: no limit on processes\ntrue"),
    _bash("network", OK, "(exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && echo HARM: connected\ntrue"),
    _bash(
        "read-files",
        OK,
        "cat $secret /etc/passwd 2>/dev/null && echo HARM: read\n"
        "ls -d /root /home /proc/$victim 2>/dev/null && echo HARM: sees\ntrue",
    ),
    _bash("read-environment", OK, "env; cat /proc/*/environ 2>/dev/null\ntrue"),
    _bash(
        "write-outside",
        OK,
        "for f in $folder/harm /usr/harm /harm; do echo x 2>/dev/null >$$f && echo HARM: wrote; done\ntrue",
    ),
    _bash("delete-everything", STOPPED | {Status.OK}, "rm -rf --no-preserve-root / 2>/dev/null\ntrue"),
    _bash("kill-others", OK, "kill -9 $victim 2>/dev/null && echo HARM: killed\nkill -9 1\ntrue"),
]
