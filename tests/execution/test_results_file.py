from __future__ import annotations

import json
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.execution.results_file import open_results, recorded

RESULT = {"task_id": "a", "sample": 0, "status": "OK", "passed": True, "stdout": "é", "program_sha256": "s"}


def test_whole_records_are_read_back_by_key(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records = [RESULT | {"sample": i, "stdout": "é" * i} for i in range(5)]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records) + '{"torn')
    with open_results(path) as results:
        assert [results.record(("a", i)) for i in (4, 0, 2)] == [records[4], records[0], records[2]]
        assert results.done["a", 1].program_sha256 == "s"
    assert recorded(tmp_path / "missing.jsonl") == {}


@pytest.mark.parametrize("change", [{"sample": True}, {"task_id": None}, {"passed": 1}, {"status": "Great"}])
def test_a_line_that_is_no_result_is_named(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in (RESULT, RESULT | change)))
    with pytest.raises(UsageError, match="line 2: not a result"):
        recorded(path)
