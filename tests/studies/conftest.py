"""A constructed study for all that read its findings; tests that change its folder copy it."""

from __future__ import annotations

from pathlib import Path

import pytest
from constructed import made

from flexlora.studies.findings import Findings
from flexlora.studies.results import Results


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings, Results]:
    """`factors` is better by far, in both tasks."""
    folder = tmp_path_factory.mktemp("planted")
    return folder, *made(folder, {"factors": 0.35}, seeds=5, seed=1)
