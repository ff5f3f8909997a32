"""Every hostile program on every path, as root and as an ordinary user; `flexlora doctor --sandbox` runs the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toolchains import ALL

import flexlora
from flexlora.execution import Mode
from flexlora.execution.conformance import Behaviour, behaviours, check, modes_of
from flexlora.execution.conformance.bait import Bait
from flexlora.execution.runner import Runner

# Seconds of compiling each: one in so many is always run, and none where all is cold; of others that are cold, half.
ONE_IN = {"cpp": 2, "java": 2, "ts": 2}


def is_thorough(number: int, behaviour: Behaviour, mode: Mode) -> bool:
    one_in = ONE_IN.get(behaviour.language, 1)
    if mode is Mode.COLD:
        return one_in > 1 or number % 2 > 0
    return number % one_in > 0


CASES = [
    pytest.param(one, mode, id=f"{one.id}-{mode}", marks=[pytest.mark.thorough] * is_thorough(number, one, mode))
    for number, one in enumerate(behaviours())
    for mode in modes_of(one.language)
]
USER = 1000
SUITE = """
import json, sys
from flexlora.execution import Mode, cgroups
from flexlora.execution.conformance import check_all
results = list(check_all([sys.argv[1]], [Mode(mode) for mode in sys.argv[2:]]))
print(json.dumps({
    "cgroups": cgroups.in_force(),
    "run": sum(one.not_run is None for one in results),
    "problems": {f"{one.behaviour.id} {one.mode}": one.problems for one in results if one.problems},
}))
"""


@pytest.fixture(scope="session")
def runners() -> Iterator[Callable[[str, Mode], Runner]]:
    """One runner for each path, which meets all the harm there is."""
    started: dict[tuple[str, Mode], Runner] = {}

    def runner(language: str, mode: Mode) -> Runner:
        if (language, mode) not in started:
            started[language, mode] = Runner(mode)
        return started[language, mode]

    yield runner
    for one in started.values():
        one.close()


@pytest.mark.parametrize(("behaviour", "mode"), CASES)
def test_no_harm_is_done_and_the_next_verdict_is_right(
    behaviour: Behaviour, mode: Mode, runners: Callable[[str, Mode], Runner]
) -> None:
    with Bait() as bait:
        result = check(behaviour, mode, runners(behaviour.language, mode), bait)
    assert not result.problems, result.problems
    if result.not_run:
        pytest.skip(result.not_run)


@pytest.fixture
def as_user() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs Python code with this package as an ordinary user, who need not be able to read this checkout."""
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("needs root, to become another user, and a Python that others can read")
    if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False).returncode:
        pytest.skip(f"{python} is older than 3.11")
    with tempfile.TemporaryDirectory(prefix="flexlora-user-") as name:
        folder = Path(name)
        shutil.copytree(Path(flexlora.__file__).parent, folder / "flexlora", ignore=shutil.ignore_patterns("*.pyc"))
        (folder / "cache").mkdir()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.chown(folder / "cache", USER, USER)
        become = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--"]
        environment = {"PYTHONPATH": name, "FLEXLORA_CACHE": str(folder / "cache"), "PATH": os.environ["PATH"]}

        def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*become, python, "-c", code, *arguments],
                capture_output=True, text=True, cwd="/", env=environment, check=False,
            )  # fmt: skip

        yield run


@pytest.mark.slow
@pytest.mark.parametrize("language", sorted({one.language for one in behaviours()}))
def test_an_ordinary_user_is_as_safe(language: str, as_user: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    if not ALL and language != "py":
        pytest.skip("takes a minute; `make test-languages` runs it")
    modes = [Mode.WARM, Mode.FRESH] if ALL and language == "py" else [Mode.WARM]  # only Python has both
    done = as_user(SUITE, language, *(mode.value for mode in modes))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == {}
    assert found["run"] > 0


def test_harm_is_seen() -> None:
    """The search finds what the suite says is not there."""
    with Bait() as bait:
        assert bait.harm("") == []
        assert bait.harm(Path(bait.secret).read_text()) == ["it read the secret"]
        Path(bait.folder, "harm").touch()
        waits = "import time; print(flush=True); time.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-c", waits, bait.marker], stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            child.stdout.readline()  # a process has no command line while it is being started
            found = bait.harm("")
        finally:
            child.kill()
            child.wait()
        assert len(found) == 2
        assert found[0].startswith(f"it wrote to {bait.folder}")
        assert found[1].startswith("it left 1 processes behind")
        os.kill(bait.victim, 9)
        os.waitid(os.P_PID, bait.victim, os.WEXITED | os.WNOWAIT)
        assert "it killed a process" in bait.harm("")
