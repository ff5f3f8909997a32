"""Runs inside the sandbox: a Python program, as `python3 -I program.py` would, and proof that it came to its end.

Either in a fork of an interpreter that runs already (`supervisor`), or as a script of its own, by the system's Python
with the standard library alone.

Proof of the end: a program's init writes a word that it drew into a pipe; whoever runs the program takes it out before
the program starts, and puts FINISHED and the word back when the program has come to its end. A program cannot know the
word, short of searching its own interpreter for it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is no small import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import NoReturn

FINISHED = b"finished "
WORD_BYTES = 32
READ_WORD, WRITE_FINISHED = 3, 4
"""Descriptors of the pipe in a program that is started as a command."""
ONLY_AST = 0x400
"""Flag of `compile`, as in the module ast."""


def run(path: str, word: bytes, pipe: int, environment: Mapping[str, str] | None = None) -> NoReturn:
    """Run a file as the main module and end the process as the interpreter would.

    Args:
        word: what to put into `pipe`, after FINISHED, at the program's end.
        environment: in place of the one that this process has.
    """
    import atexit
    import builtins
    import types

    process = os.getpid()
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    sys.argv[:] = [os.path.basename(path)]
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    sys.setrecursionlimit(sys.getrecursionlimit() + frames_below())
    code, finished = execute(path, module.__dict__)
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None and not stream.closed:
                    stream.flush()
            except Exception:
                code = 120
        if finished and code == 0 and os.getpid() == process:  # else a fork that came as far
            try:
                os.write(pipe, FINISHED + word)
            except OSError:
                pass  # the program has closed it
        os._exit(code)


def frames_below() -> int:
    """What stands below the program's first frame: all up to here, `execute` in place of us, and `exec`."""
    frame, count = sys._getframe(), 1
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count + 1


def execute(path: str, namespace: dict[str, object]) -> tuple[int, bool]:
    """The exit code, and whether the program came to its end."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        try:
            program = compile(source, path, "exec", dont_inherit=True)
        except ValueError as error:  # a null byte, in older versions
            raise SyntaxError(str(error)) from None
    except SyntaxError as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        return 1, False
    try:
        exec(program, namespace)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return (ending.code or 0) & 0xFF, exits_at_end(ending.__traceback__, path, source)
        print(ending.code, file=sys.stderr)
        return 1, False
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1, False
    return 0, True


def exits_at_end(trace: TracebackType | None, path: str, source: bytes) -> bool:
    """Whether an exit is how the program means to end, as in `unittest.main()` and `sys.exit(main())`.

    It is if the last statement of the file is a call or a raise and makes it, and no function of the program is at
    work: such a one may have been called by a test.
    """
    last = compile(source, path, "exec", flags=ONLY_AST, dont_inherit=True).body[-1]
    while type(last).__name__ == "If" and not last.orelse:  # if __name__ == "__main__"
        last = last.body[-1]
    if not (type(last).__name__ == "Raise" or (type(last).__name__ == "Expr" and type(last.value).__name__ == "Call")):
        return False
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    programs = [frame for frame in frames[1:] if frame.tb_frame.f_code.co_filename == path]
    files = [frame.tb_frame.f_code.co_filename for frame in frames[1:]]
    if len(programs) != 1 or any(file.startswith("<") and not file.startswith("<frozen ") for file in files):
        return False  # of a function of its own, or of what it gave to `exec`
    if sys.version_info < (3, 11):  # noqa: UP036  # the system may have an older one than we run on
        return programs[0].tb_lineno >= last.lineno
    line, _, column, _ = list(programs[0].tb_frame.f_code.co_positions())[programs[0].tb_lasti // 2]
    return line is not None and column is not None and (line, column) >= (last.lineno, last.col_offset)


if __name__ == "__main__":
    taken = os.read(READ_WORD, WORD_BYTES)
    os.close(READ_WORD)
    os.set_inheritable(WRITE_FINISHED, False)
    run(os.path.join(os.getcwd(), "program.py"), taken, WRITE_FINISHED)
