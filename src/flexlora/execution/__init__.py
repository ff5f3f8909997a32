"""Runs untrusted programs in a sandbox and says what became of them.

Usable alone: imports nothing beyond the standard library and the package's own errors and files.
"""

from flexlora.execution.how import Executor, How
from flexlora.execution.pool import execute, execute_async, require, run_program, run_program_async
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Program, Status, Verdict

__all__ = [
    "Executor",
    "How",
    "Mode",
    "Program",
    "Sandbox",
    "Status",
    "Verdict",
    "execute",
    "execute_async",
    "require",
    "run_program",
    "run_program_async",
]
