"""What the execution tests share: real data, and a search of the host for what a program left behind."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from toolchains import LIGHT

from flexlora.errors import UsageError
from flexlora.execution import require
from flexlora.execution.conformance.bait import commands_with
from flexlora.execution.languages import toolchain

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a sandbox where there is none (an error in CI); never run a program outside one.

    Tests of one language skip by themselves where it is missing; in CI a missing light one is an error here.
    """
    try:
        require({"py", "java"})
        if os.environ.get("CI"):
            for code in LIGHT:
                toolchain(code)
    except UsageError as error:
        if os.environ.get("CI"):
            raise pytest.UsageError(str(error)) from error
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=str(error)))


@pytest.fixture(autouse=True)
def own_verdicts(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test finds verdicts of another one; the folder where they are."""
    folder = tmp_path_factory.mktemp("verdicts")
    monkeypatch.setattr("flexlora.execution.pool.default_folder", lambda: folder)
    return folder


@pytest.fixture
def data() -> Path:
    """Real labelled data, which is not part of the repository."""
    folder = Path(os.environ.get("FLEXLORA_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; FLEXLORA_TEST_DATA names another folder with the data")
    return folder


@pytest.fixture
def marker() -> str:
    """A word that stands in no other process's command line."""
    return f"marker-{uuid.uuid4().hex}"


@pytest.fixture
def left_behind() -> Callable[[str], list[str]]:
    return commands_with


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60  # only against hanging
        while not condition():
            assert time.monotonic() < deadline, "waited a minute in vain"
            time.sleep(0.02)

    return wait


@pytest.fixture
def orphaned_sandboxes() -> Callable[[], set[str]]:
    """Process IDs of bubblewraps that nobody watches any more; right after a kill there may be some for a moment."""

    def orphans() -> set[str]:
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = path.read_text().rpartition(")")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if name.endswith("(bwrap") and state != "Z" and parent == "1":
                found.add(path.parent.name)
        return found

    return orphans
