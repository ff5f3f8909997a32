import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from flexlora.errors import FlexError, UsageError
from flexlora.evaluation import Entry, Score, Summary, compare_runs, read_results, read_summary, score_run
from flexlora.evaluation.published import CAVEATS, published_for
from flexlora.files import write_json


def write_results(folder: Path, verdicts: dict[tuple[str, int], str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.jsonl").open("a") as file:
        for (task_id, sample), status in verdicts.items():
            record = {"task_id": task_id, "sample": sample, "status": status, "passed": status == "OK"}
            file.write(json.dumps(record) + "\n")


def verdicts(passing: Iterable[int], problems: int = 10, failure: str = "Exception") -> dict[tuple[str, int], str]:
    passing = set(passing)
    return {(f"P/{i}", 0): "OK" if i in passing else failure for i in range(problems)}


def entry(arm: str | None, variant: str, keys: Iterable[tuple[str, int]], task: str = "humaneval") -> Entry:
    return Entry(
        arm=arm,
        variant=variant,
        model="org/model",
        task=task,
        language="py",
        path=f"{arm or 'none'}/{variant}/{task}",
        expected=frozenset(keys),
    )


def make_run(
    run: Path, cases: dict[tuple[str | None, str], dict[tuple[str, int], str]], ks: tuple[int, ...] = (1,)
) -> Summary:
    entries = [entry(arm, variant, keys) for (arm, variant), keys in cases.items()]
    for case, found in zip(entries, cases.values(), strict=True):
        write_results(run / case.path, found)
    summary = score_run(run, entries, ks, name="fake", provenance={"seed": 0})
    write_json(run / "summary.json", summary)
    return summary


def test_scores_and_comparisons_of_two_arms(tmp_path: Path) -> None:
    summary = make_run(
        tmp_path,
        {
            (None, "base"): verdicts(range(3)),
            ("one", "adapter"): verdicts(range(5)),
            ("one", "merged"): verdicts(range(5)),
            ("two", "adapter"): verdicts(range(1, 4), failure="OutOfMemory"),
        },
    )
    base = summary["scores"][0]
    assert base["pass_at_k"]["1"]["estimate"] == 0.3
    assert base["pass_at_k"]["1"]["method"] == "wilson"
    assert set(base["pass_at_k"]["1"]["bootstrap"]) == {"low", "high"}
    assert (base["problems"], base["samples_per_problem"]) == (10, 1)
    assert summary["scores"][3]["statuses"] == {"OutOfMemory": 7, "OK": 3}
    pairs = [(c["arm"], c["variant"], c["against"]["arm"], c["against"]["variant"]) for c in summary["comparisons"]]
    assert pairs == [
        ("one", "adapter", None, "base"),
        ("one", "merged", None, "base"),
        ("two", "adapter", None, "base"),
        ("two", "adapter", "one", "adapter"),
    ]
    assert summary["comparisons"][2]["gained"] == ["P/3"]
    assert summary["comparisons"][2]["lost"] == ["P/0"]
    assert read_summary(tmp_path) == summary
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_several_samples_give_each_k_by_bootstrap(tmp_path: Path) -> None:
    found = {(f"P/{i}", s): "OK" if s < i else "Timeout" for i in range(5) for s in range(4)}
    summary = make_run(tmp_path, {(None, "base"): found}, ks=(1, 4))
    scores = summary["scores"][0]["pass_at_k"]
    assert scores["1"]["estimate"] == pytest.approx(0.5)
    assert scores["4"]["estimate"] == pytest.approx(0.8)
    assert scores["4"]["method"] == "bootstrap"
    assert "bootstrap" not in scores["4"]


def test_all_pass_has_a_wilson_interval_with_width(tmp_path: Path) -> None:
    score = make_run(tmp_path, {(None, "base"): verdicts(range(10))})["scores"][0]["pass_at_k"]["1"]
    assert (score["estimate"], score["high"]) == (1.0, 1.0)
    assert score["low"] == pytest.approx(0.7225, abs=1e-4)


def test_k_above_the_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pass@10"):
        make_run(tmp_path, {(None, "base"): verdicts(range(3))}, ks=(1, 10))


def test_missing_unexpected_and_absent_results_are_errors_that_name_keys(tmp_path: Path) -> None:
    keys = verdicts(range(3))
    write_results(tmp_path, keys)
    path = tmp_path / "results.jsonl"
    with pytest.raises(FlexError, match=r"1 of 11 results are missing \(P/10 sample 0\)"):
        read_results(path, [*keys, ("P/10", 0)])
    with pytest.raises(FlexError, match=r"1 results belong to no sample .*P/9 sample 0"):
        read_results(path, list(keys)[:-1])
    with pytest.raises(FlexError, match="holds no results"):
        read_results(tmp_path / "elsewhere.jsonl")


def test_uneven_samples_are_an_error(tmp_path: Path) -> None:
    write_results(tmp_path, {("a", 0): "OK", ("a", 1): "OK", ("b", 0): "OK"})
    with pytest.raises(FlexError, match="missing: b sample 1"):
        read_results(tmp_path / "results.jsonl")


def test_infrastructure_errors_are_never_scored_until_retried(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(tmp_path, {("a", 0): "OK", ("b", 0): "InfrastructureError"})
    with pytest.raises(FlexError, match=r"1 of 2 samples have no verdict.*b sample 0"):
        read_results(path)
    write_results(tmp_path, {("b", 0): "OK"})
    assert read_results(path).passes == {"a": 1, "b": 1}


def test_an_entry_listed_twice_and_nothing_to_score_are_refused(tmp_path: Path) -> None:
    twin = entry(None, "base", [("a", 0)])
    with pytest.raises(UsageError, match="listed twice"):
        score_run(tmp_path, [twin, twin], [1], name="fake", provenance={})
    with pytest.raises(UsageError, match="nothing to score"):
        score_run(tmp_path, [], [1], name="fake", provenance={})


def test_two_runs_are_compared_where_they_pair(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_run(a, {(None, "base"): verdicts(range(3)), ("old", "adapter"): verdicts(range(4))})
    make_run(b, {(None, "base"): verdicts(range(3)), ("new", "adapter"): verdicts(range(8))})
    found = compare_runs(a, b)
    assert [c["variant"] for c in found.comparisons] == ["base"]
    assert found.comparisons[0]["difference"] == 0.0
    assert found.problems == [10]
    assert found.p_corrected == [1.0]
    assert found.only_in_a == ["old/adapter on humaneval"]
    assert found.only_in_b == ["new/adapter on humaneval"]


def test_comparisons_of_two_runs_are_corrected_together(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_run(a, {(None, "base"): verdicts(range(3)), ("main", "adapter"): verdicts([])})
    make_run(b, {(None, "base"): verdicts(range(4)), ("main", "adapter"): verdicts(range(7))})
    found = compare_runs(a, b)
    assert [one["p_value"] for one in found.comparisons] == [1.0, 2 * 0.5**7]
    assert found.p_corrected == [1.0, 2 * 2 * 0.5**7]


def test_runs_that_share_nothing_or_changed_are_refused(tmp_path: Path) -> None:
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    make_run(a, {(None, "base"): verdicts(range(3))})
    make_run(b, {("main", "adapter"): verdicts(range(3))})
    make_run(c, {(None, "base"): verdicts(range(3), problems=9)})
    with pytest.raises(UsageError, match="share no arm, variant and task"):
        compare_runs(a, b)
    with pytest.raises(UsageError, match="only in the first: P/9"):
        compare_runs(a, c)
    write_results(a / "none/base/humaneval", {("P/9", 0): "OK"})
    with pytest.raises(FlexError, match="changed since"):
        compare_runs(a, a)


def test_a_folder_that_is_no_run_and_a_strange_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not found"):
        read_summary(tmp_path)
    write_json(tmp_path / "summary.json", {"schema": 99})
    with pytest.raises(UsageError, match="schema 99"):
        read_summary(tmp_path)


def test_published_rows_stand_beside_code_llama_only() -> None:
    assert published_for(["Qwen/Qwen2.5-Coder-0.5B"]) == ()
    assert len(published_for(["codellama/CodeLlama-7b-hf"])) == 5
    assert any("158" in caveat for caveat in CAVEATS)
    assert any("3,671 MB" in caveat for caveat in CAVEATS)


def test_the_score_type_names_every_field_of_the_file(tmp_path: Path) -> None:
    summary = make_run(tmp_path, {(None, "base"): verdicts(range(3))})
    assert set(summary) == set(Summary.__annotations__) - {"likelihood", "selections", "repairs"}
    assert set(summary["scores"][0]) == {*Score.__required_keys__}


def test_a_baseline_is_compared_with_the_base_and_every_arm(tmp_path: Path) -> None:
    summary = make_run(
        tmp_path,
        {
            (None, "base"): verdicts(range(3)),
            (None, "baseline"): verdicts(range(5)),
            ("one", "adapter"): verdicts(range(6)),
        },
    )
    pairs = [(c["variant"], c["against"]["variant"], c["difference"]) for c in summary["comparisons"]]
    assert pairs == [
        ("baseline", "base", pytest.approx(0.2)),
        ("adapter", "base", pytest.approx(0.3)),
        ("adapter", "baseline", pytest.approx(0.1)),
    ]


def test_comparing_runs_says_what_else_differs(tmp_path: Path) -> None:
    for name, style, batch in (("a", "stripped", 8), ("b", "verbatim", 16)):
        summary = make_run(tmp_path / name, {(None, "base"): verdicts(range(3))})
        summary["provenance"] |= {
            "sampling": {"temperature": 0, "batch_size": batch},
            "tasks": {"humaneval": {"prompt_style": style, "data": {"sha256": "x"}}},
        }
        write_json(tmp_path / name / "summary.json", summary)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.conditions == ["humaneval.prompt_style: 'stripped' in A, 'verbatim' in B"]
