"""`--sandbox none`, with programs that are known to be harmless: these run as we do."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path

import pytest
from toolchains import LIGHT

from flexlora.errors import UsageError
from flexlora.execution import Program, execute, require, run_program
from flexlora.execution.bare import Bare
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.sandboxed import Stopped


@pytest.mark.parametrize(
    "code", [pytest.param(code, marks=pytest.mark.thorough if code == "ts" else ()) for code in sorted(LIGHT)]
)
def test_the_known_programs_are_judged_rightly(code: str) -> None:
    require({code}, sandbox="none")
    assert run_program(code, LANGUAGES[code].known_good, sandbox="none").passed
    assert not run_program(code, LANGUAGES[code].known_bad, sandbox="none").passed


def test_each_use_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            list(execute([Program("t", 0, "py", "assert 1 == 1")], sandbox="none"))
    assert [record.message[:45] for record in caplog.records] == ["WARNING: programs run WITHOUT a sandbox (--sa"] * 2
    caplog.clear()
    list(execute([Program("t", 0, "py", "assert 1 == 1")]))
    assert caplog.records == []


def test_it_is_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise UsageError("The sandbox does not start")

    monkeypatch.setattr("flexlora.execution.requirements.probe", broken)
    with pytest.raises(UsageError, match="The sandbox does not start"):
        list(execute([Program("t", 0, "py", "assert 1 == 1")]))
    assert run_program("py", "assert 1 == 1", sandbox="none").passed


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UsageError, match=r"Unknown sandbox 'docker'\. Known: bubblewrap, none"):
        run_program("py", "", sandbox="docker")


def test_limits_and_output_are_as_in_the_sandbox() -> None:
    def status(source: str, timeout_s: float = 20) -> str:
        return run_program("py", source, timeout_s=timeout_s, sandbox="none").status

    assert status("import time; time.sleep(100)", 0.3) == "Timeout"
    assert status("print('x' * 20_000_000)") == "OutputLimit"
    assert status("x = bytearray(2 << 30)") == "OutOfMemory"
    assert status("def f(:") == "SyntaxError"
    assert status("import sys\nsys.exit(0)\nassert 1 == 2") == "Exception"
    verdict = run_program("py", "import sys\nprint('out')\nprint('err', file=sys.stderr)", sandbox="none")
    assert (verdict.stdout, verdict.stderr) == ("out\n", "err\n")


def test_a_program_finds_its_own_folder_only_and_leaves_none() -> None:
    before = set(Path(tempfile.gettempdir()).glob("flexlora-*"))
    source = "import os\nassert os.listdir() == ['program.py'], os.listdir()\nopen('left', 'w')\nprint(os.getcwd())"
    verdict = run_program("py", source, sandbox="none")
    assert verdict.passed, verdict
    assert not Path(verdict.stdout.strip()).exists()
    assert set(Path(tempfile.gettempdir()).glob("flexlora-*")) <= before


def test_a_child_ends_with_the_program(marker: str, left_behind: object) -> None:
    source = f"import subprocess\nsubprocess.Popen(['sh', '-c', 'sleep 1000; true', {marker!r}])"
    assert run_program("py", source, sandbox="none").passed
    assert callable(left_behind)
    assert left_behind(marker) == []


def test_verdicts_are_not_those_of_the_sandbox() -> None:
    program = Program("t", 0, "py", "assert 1 == 1")
    assert [one.cached for one in execute([program])] == [False]
    assert [one.cached for one in execute([program], sandbox="none")] == [False]
    assert [one.cached for one in execute([program])] == [True]


def test_stopping_ends_what_runs() -> None:
    from flexlora.execution.sandbox import Sandbox

    runner = Runner(Mode.WARM, Sandbox.NONE)
    ended: list[BaseException] = []

    def run() -> None:
        try:
            runner.run(Program("t", 0, "py", "import time; time.sleep(1000)", 900))
        except Stopped as stopped:
            ended.append(stopped)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    runner.stop()
    thread.join(timeout=60)
    assert len(ended) == 1
    assert isinstance(runner._bare, Bare)
