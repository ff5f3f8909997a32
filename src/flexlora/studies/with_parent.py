"""Becomes another program that the kernel kills where its parent is killed (Linux): with_parent.py PARENT COMMAND...

A small program of its own, because a parent with threads must not run Python between fork and exec. Imports nothing of
`flexlora`.
"""

import ctypes
import os
import signal
import sys

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2): kept by exec, and about the thread that forked."""

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(sys.argv[1]):
            sys.exit(1)  # it was killed before it could be asked for
    os.execv(sys.argv[2], sys.argv[2:])
