from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.sample_files import execute_file, in_words, score_file
from flexlora.execution import Program
from flexlora.execution import samples as execution_samples
from flexlora.execution.verdict import Status, Verdict

MAY_DIFFER = ("wall_s", "cpu_s", "cached", "timestamp", "date")


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_score_in_words(tmp_path: Path) -> None:
    programs = [{"language": "py", "program": f"assert {i} % 4", "task_id": f"t{i % 2}"} for i in range(20)]
    path = lines(tmp_path / "p.jsonl", *programs)
    assert in_words(execute_file(path)) == (
        "15 of 20 programs passed (15 OK, 5 Exception)\n"
        "pass@1 75.0 %, 95 % interval 50.0 to 100.0 (bootstrap)\n"
        "pass@10 100.0 %, 95 % interval 100.0 to 100.0 (bootstrap)\n"
        "over 2 problems, 10 samples each; read as whole programs\n"
        f"verdicts: {tmp_path / 'p_results.jsonl'}"
    )


def test_the_score_of_the_verdicts_is_that_of_the_execution(benchmark: Path, tmp_path: Path) -> None:
    samples = [{"task_id": f"HumanEval/{i}", "completion": "    return 2 * x" if i else "    1/0"} for i in range(4)]
    executed = execute_file(lines(tmp_path / "s.jsonl", *samples), data_dir=benchmark)
    same = ("problems", "samples", "samples_per_problem", "passed", "pass@1", "pass_at_k", "statuses")
    for path in (executed["results"], *executed["native_results"]):
        scored = score_file(Path(path))
        assert {key: scored[key] for key in same} == {key: executed[key] for key in same}


def test_an_output_that_would_be_written_over_is_refused(benchmark: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", {"task_id": "HumanEval/0", "completion": ""})
    with pytest.raises(UsageError, match="that is the samples file itself"):
        execute_file(path, data_dir=benchmark, output=path)
    with pytest.raises(UsageError, match="the format's own results file"):
        execute_file(path, data_dir=benchmark, output=tmp_path / "s.jsonl_results.jsonl")
    assert list(tmp_path.glob("s*")) == [path]


def slow(i: int) -> str:
    """No two are equal."""
    return f"import os; os.execv('/bin/sh', ['{i}', '-c', 'sleep 0.{i % 3 + 1}; exit {i % 2}'])"


def human_eval(folder: Path) -> Path:
    samples = [{"task_id": f"HumanEval/{i % 4}", "completion": f"    pass\n{slow(i)}"} for i in range(16)]
    return lines(folder / "samples.jsonl", *samples)


def bigcode(folder: Path) -> Path:
    path = folder / "generations_humaneval.json"
    path.write_text(json.dumps([[slow(4 * problem + i) for i in range(4)] for problem in range(4)]))
    return path


def multipl_e(folder: Path) -> Path:
    for problem, name in enumerate("abcd"):
        record = {
            "name": name,
            "language": "py",
            "prompt": "",
            "tests": "",
            "completions": [slow(4 * problem + i) for i in range(4)],
        }
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    return folder


def settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items() if key not in MAY_DIFFER}
    return [settled(item) for item in value] if isinstance(value, list) else value


def content(path: Path) -> Any:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    if path.suffix == ".jsonl":
        records = [settled(json.loads(line)) for line in data.splitlines()]
        return sorted(records, key=json.dumps) if "program_sha256" in records[0] else records
    return settled(json.loads(data))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [human_eval, *(pytest.param(make, marks=pytest.mark.thorough) for make in (bigcode, multipl_e))]
)
def test_a_killed_execution_resumes_to_the_files_of_an_undisturbed_one(
    make: Callable[[Path], Path], benchmark: Path, tmp_path: Path
) -> None:
    outcomes = []
    for name, endings in (("killed", [signal.SIGKILL, signal.SIGINT, signal.SIGKILL]), ("whole", [])):
        (tmp_path / name).mkdir()
        path = make(tmp_path / name)
        results = path / "results.jsonl" if path.is_dir() else tmp_path / name / f"{path.stem}_results.jsonl"
        command = [sys.executable, "-m", "flexlora", "execute", str(path), "--json"]
        command += [] if path.is_dir() else ["--data-dir", str(benchmark)]
        for number, ending in enumerate(endings, start=1):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not (results.exists() and results.read_bytes().count(b"\n") >= 3 * number):
                time.sleep(0.02)
            process.send_signal(ending)
            assert process.wait(timeout=60) in (-signal.SIGKILL, 130)
            assert not list(results.parent.glob("*results.json*.gz")) or results.stat().st_size
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        keys = [(r["task_id"], r["sample"]) for r in map(json.loads, results.read_text().splitlines())]
        assert len(keys) == len(set(keys)) == 16
        files = {file.name: content(file) for file in sorted((tmp_path / name).iterdir())}
        files.pop("generations_humaneval_evaluation_results.json", None)  # it names the samples file
        outcomes.append((files, json.loads(done.stdout)["pass_at_k"]))
    assert outcomes[0] == outcomes[1]


# Memory: 400 programs of 100 kB each are 40 MB.

SIZE = 100_000


def padded(i: int) -> str:
    return f"    return 2 * x  # {i}" + "x" * SIZE


def great_file(format_: str, folder: Path) -> Path:
    if format_ == "programs":
        return lines(folder / "p.jsonl", *({"language": "py", "program": padded(i)} for i in range(400)))
    if format_ == "bigcode":
        (folder / "g_humaneval.json").write_text(json.dumps([[padded(i)] * 10 for i in range(40)]))
        return folder / "g_humaneval.json"
    if format_ == "MultiPL-E":
        for i in range(40):
            problem = {"name": str(i), "language": "py", "prompt": "", "tests": "", "completions": [padded(i)] * 10}
            (folder / f"{i}.json").write_text(json.dumps(problem))
        return folder
    samples = ({"task_id": f"HumanEval/{i % 40}", format_: padded(i)} for i in range(400))
    return lines(folder / "s.jsonl", *samples)


@pytest.mark.parametrize("format_", ["programs", "completion", "solution", "bigcode", "MultiPL-E"])
def test_memory_does_not_grow_with_the_size_of_the_programs(
    format_: str, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(programs: Iterator[Program], **_: object) -> Iterator[Verdict]:
        for p in programs:
            fields = (p.task_id, p.sample, p.language, Status.OK, True, 0, "x" * 16_000, "", 0.1, 0.1, False, p.sha256)
            yield Verdict(*fields)

    monkeypatch.setattr(execution_samples, "execute", execute)
    record = json.loads((benchmark / "humaneval.jsonl").read_text().splitlines()[0])
    lines(benchmark / "humaneval.jsonl", *(record | {"task_id": f"HumanEval/{i}"} for i in range(40)))
    folder = tmp_path / "samples"
    folder.mkdir()
    path = great_file(format_, folder)
    bring_their_tests = format_ in ("programs", "MultiPL-E")
    execute_file(path, data_dir=None if bring_their_tests else benchmark, output=tmp_path / "warm" / "r.jsonl")
    tracemalloc.start()
    try:
        summary = execute_file(path, data_dir=None if bring_their_tests else benchmark)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary["samples"] == 400
    # A file of one problem, or an entry of ten generations, is held whole: a few megabytes, as text and as read.
    assert peak < 10_000_000


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"language": "py", "program": "1"})
    script = (
        "import sys\nfrom flexlora.cli import app\n"
        "for command in (['execute', sys.argv[1]], ['score', sys.argv[1][:-6] + '_results.jsonl']):\n"
        "    app(command, standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout.count("1 of 1 programs passed") == 2
    assert not {"torch", "transformers", "scipy"} & set(done.stdout.split())
