import io
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import make_run
from rich.console import Console

from flexlora.evaluation import Comparison, RunComparison, Summary, compare_runs
from flexlora.evaluation.published import CAVEATS
from flexlora.files import write_json
from flexlora.report import print_comparison, print_doctor, print_summary
from flexlora.report.terminal import DOCTOR_COLUMNS, print_proofs
from flexlora.report.words import (
    LANGUAGE_NAMES,
    chance_note,
    overview,
    p_text,
    points,
    score_name,
    sentence,
    tiny_note,
    verdict,
)

JAVA: Comparison = {
    "arm": "main",
    "variant": "adapter",
    "model": "m",
    "against": {"arm": None, "variant": "base", "model": "m"},
    "task": "multipl-e/humaneval/java",
    "language": "java",
    "k": 1,
    "difference": 0.032,
    "low": -0.013,
    "high": 0.076,
    "p_value": 0.18,
    "method": "exact McNemar",
    "gained": ["a"],
    "lost": [],
}


def printed(width: int = 80) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=width), text


def test_a_comparison_in_words() -> None:
    assert sentence(JAVA, 158) == (
        "Java (multipl-e/humaneval/java): main/adapter +3.2 points [−1.3, +7.6] against base, p = 0.18: "
        "no difference shown at 158 problems."
    )
    better: Comparison = {**JAVA, "p_value": 0.0002, "k": 10}
    assert "pass@10 +3.2 points" in sentence(better, 158)
    assert sentence(better, 158).endswith("p < 0.001: better on 158 problems.")
    assert verdict({**better, "difference": -0.1}) == "worse"


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.032, "+3.2"), (-0.013, "−1.3"), (0.0, "0.0"), (-0.0001, "0.0"), (-1.0, "−100.0")],
)
def test_points_carry_their_sign_and_zero_none(difference: float, text: str) -> None:
    assert points(difference) == text


def test_p_values_are_short_and_never_zero() -> None:
    assert [p_text(p) for p in (1.0, 0.18, 0.0504, 0.0496, 0.001, 0.0009)] == [
        "p = 1",
        "p = 0.18",
        "p = 0.0504",
        "p = 0.0496",
        "p = 0.001",
        "p < 0.001",
    ]


def test_overview_counts_tasks() -> None:
    worse: Comparison = {**JAVA, "difference": -0.1, "p_value": 0.01}
    assert overview([JAVA, worse, JAVA]) == [
        "main/adapter against base: worse on 1, no difference shown on 2 of 3 tasks."
    ]
    assert overview([JAVA, JAVA]) == ["main/adapter against base: no difference shown on both tasks."]
    assert chance_note([JAVA]) == ""
    assert "about 1.0 of them" in chance_note([JAVA] * 20)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_summary_keeps_to_the_width_and_holds_everything(tmp_path: Path, width: int) -> None:
    summary, _ = make_run(tmp_path, problems=30)
    console, text = printed(width)
    print_summary(summary, console)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    joined = " ".join(text.getvalue().split())
    for score in summary["scores"]:
        assert f"{100 * score['pass_at_k']['1']['estimate']:.1f}" in joined
    for caveat in CAVEATS:
        assert caveat in joined
    if width >= 80:
        told = [one for one in summary["comparisons"] if one["p_value"] < 0.05]
        for one in told + [one for one in summary["comparisons"] if one["against"]["variant"] == "base"]:
            assert points(one["difference"]) in joined
        left_out, every = len(summary["comparisons"]) - len(told), len(summary["comparisons"])
        assert f"In {left_out} of {every} comparisons no difference was shown" in joined


def test_the_embedded_model_is_said_to_be_small(tmp_path: Path) -> None:
    summary, _ = make_run(tmp_path, problems=5)
    assert tiny_note(summary) == ""
    summary["scores"][0]["model"] = "tiny"
    console, text = printed()
    print_summary(summary, console)
    assert "three million parameters" in " ".join(text.getvalue().split())


def test_square_brackets_in_names_are_not_markup(tmp_path: Path) -> None:
    summary, _ = make_run(tmp_path, problems=5)
    summary["scores"] = [{**score, "task": f"[bold]{score['language']}"} for score in summary["scores"]]
    summary["comparisons"] = []
    console, text = printed()
    print_summary(summary, console)
    assert "[bold]java" in text.getvalue()


def test_two_runs_in_words(tmp_path: Path) -> None:
    make_run(tmp_path / "a", problems=20)
    summary, _ = make_run(tmp_path / "b", problems=20)
    fewer: Summary = {**summary, "scores": summary["scores"][2:]}
    write_json(tmp_path / "b" / "summary.json", {**fewer, "provenance": {}})
    console, text = printed(200)
    print_comparison(compare_runs(tmp_path / "a", tmp_path / "b"), console)
    assert "Only in A, not compared: base on humaneval." in text.getvalue()
    assert "against the same in A, p = 1 after correction: no difference shown at 20 problems." in text.getvalue()
    assert "no difference shown on all 10 comparisons." in text.getvalue()


def test_two_runs_are_compared_with_correction_and_their_flips(tmp_path: Path) -> None:
    kept = [one for one in make_run(tmp_path / "a", problems=20)[0]["comparisons"] if one["arm"] == "fourier"][:2]
    flips = [f"HumanEval/{number}" for number in range(15)]
    found = RunComparison(
        run_a="a",
        run_b="b",
        comparisons=[
            {**kept[0], "difference": 0.2, "p_value": 0.03, "gained": flips, "lost": ["HumanEval/99"]},
            kept[1],
        ],
        problems=[20, 20],
        p_corrected=[0.06, 1.0],
        only_in_a=[],
        only_in_b=[],
        likelihoods=[],
        conditions=[],
    )
    console, text = printed()
    print_comparison(found, console)
    said = " ".join(text.getvalue().split())
    assert "p = 0.06 after correction: no difference shown at 20 problems." in said
    assert "gained 15: HumanEval/0, HumanEval/1," in said
    assert "HumanEval/11 and 3 more (--json has all) lost 1: HumanEval/99" in said
    assert max(map(len, text.getvalue().splitlines())) <= 80
    alone = replace(found, comparisons=found.comparisons[:1], problems=[20], p_corrected=[0.03])
    console, text = printed()
    print_comparison(alone, console)
    assert "p = 0.03: better on 20 problems." in " ".join(text.getvalue().split())


def test_baselines_are_told_apart(tmp_path: Path) -> None:
    scores = [s for s in make_run(tmp_path, problems=5)[0]["scores"] if s["variant"] == "baseline"]
    assert score_name(scores[0], scores) == "baseline CodeLlama-7b-Python-hf"
    twin = {**scores[0], "model": "other/CodeLlama-7b-Python-hf"}
    assert score_name(scores[0], [*scores, twin]) == "baseline codellama/CodeLlama-7b-Python-hf"  # type: ignore[list-item]


def test_doctor_rows() -> None:
    console, text = printed()
    print_doctor(
        {"python": "3.11", "packages": {"torch": None}},
        [
            {**dict.fromkeys(DOCTOR_COLUMNS), "name": "java", "ok": True, "install": None},
            {**dict.fromkeys(DOCTOR_COLUMNS), "name": "d", "ok": False, "install": "no ldmd2: `apt-get install ldc`"},
        ],
        console,
    )
    assert "torch missing" in text.getvalue()
    assert "FAILED" in text.getvalue()
    assert "d: no ldmd2: `apt-get install ldc`" in text.getvalue()
    assert "None" not in text.getvalue()


def test_doctor_keeps_to_eighty_columns_with_all_languages() -> None:
    limits = "compile 45 s, run 15 s, 2 GiB"
    found = {"ok": True, "version": "scalac 2.11.12", "good": "OK", "bad": "Exception", "limits": limits}
    missing = dict.fromkeys(DOCTOR_COLUMNS) | {"limits": limits}
    rows = [
        {**(found if code in {"py", "scala"} else missing), "name": code, "install": None} for code in LANGUAGE_NAMES
    ]
    rows[0] |= {"name": "sandbox", "version": "bubblewrap 0.8.0"}
    console, text = printed()
    print_doctor({}, rows, console)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (scala,) = (line for line in lines if line.startswith("scala"))
    assert scala.split() == ["scala", "ok", "scalac", "2.11.12", "OK", "Exception", *limits.split()]
    assert sum("missing" in line for line in lines) == 17


def test_proofs_of_the_sandbox() -> None:
    held = {"behaviour": "daemon", "language": "py", "mode": "warm", "ok": True, "problems": [], "not_run": None}
    console, text = printed()
    print_proofs([held, {**held, "language": "js", "ok": None, "not_run": "js: `node` is missing"}], console)
    assert "not run: js: `node` is missing" in text.getvalue()
    assert "The sandbox held" in text.getvalue()
    print_proofs([held, {**held, "ok": False, "problems": ["it read the secret"]}], console)
    assert "FAILED daemon, py warm: it read the secret" in text.getvalue()
    assert text.getvalue().count("The sandbox held") == 1
