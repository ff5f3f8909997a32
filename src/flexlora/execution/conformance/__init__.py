"""Proof that the sandbox holds: hostile programs, what they must not have done, and a right verdict on the next one.

The same programs run on every path: each in a fork of a running interpreter, in a process of its own, through compilers
that stay, and in a sandbox of its own. `flexlora doctor --sandbox` runs them all.
"""

from flexlora.execution.conformance.behaviour import Behaviour
from flexlora.execution.conformance.suite import Result, behaviours, check, check_all, modes_of

__all__ = ["Behaviour", "Result", "behaviours", "check", "check_all", "modes_of"]
