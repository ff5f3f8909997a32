"""Languages by variants in one table."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from fake_run import make_run
from rich.console import Console

from flexlora.evaluation.schema import Score, Summary
from flexlora.report.matrix import LEAST, matrix, print_matrix_of_languages
from flexlora.report.page import write_report
from flexlora.report.terminal import print_summary

LANGUAGES = ("rs", "java", "cpp", "d", "lua")


def score(task: str, language: str, arm: str | None, share: float) -> Score:
    return {
        "arm": arm,
        "variant": "adapter" if arm else "base",
        "model": "m",
        "task": task,
        "language": language,
        "problems": 10,
        "samples_per_problem": 1,
        "pass_at_k": {"1": {"estimate": share, "low": 0.0, "high": 1.0, "method": "wilson"}},
        "statuses": {"OK": 10},
        "path": "p",
    }


def summary(*scores: Score) -> Summary:
    return {"schema": 1, "name": "r", "scores": list(scores), "comparisons": [], "provenance": {}}


def everything(arms: int = 1) -> Summary:
    tasks = [(f"multipl-e/{original}/{code}", code) for original in ("mbpp", "humaneval") for code in LANGUAGES]
    tasks += [("humaneval", "py"), ("mbpp", "py"), ("tiny/A/py", "py")]
    names: list[Any] = [None, *(f"arm{i}" for i in range(arms))]
    return summary(*(score(task, code, arm, 0.25) for arm in names for task, code in tasks))


def test_languages_are_rows_python_first_and_variants_columns() -> None:
    found = matrix(everything())
    assert found is not None
    assert found.columns == ("base", "arm0/adapter")
    assert [name for name, _ in found.sections] == ["multipl-e/mbpp", "multipl-e/humaneval"]
    mbpp, humaneval = (rows for _, rows in found.sections)
    assert [row.language for row in mbpp] == ["java", "cpp", "rs", "lua", "d"]
    assert [row.language for row in humaneval] == ["py", "java", "cpp", "rs", "lua", "d"]
    assert humaneval[0].cells[1] is not None
    assert humaneval[0].cells[1]["task"] == "humaneval"


def test_what_was_not_run_is_said_to_be_so_and_few_languages_have_no_matrix() -> None:
    scores = [score(f"multipl-e/mbpp/{code}", code, None, 0.5) for code in LANGUAGES]
    found = matrix(summary(*scores, score("multipl-e/mbpp/java", "java", "a", 0.75)))
    assert found is not None
    printed = text(found, 80)
    assert "Java 50.0 [0.0, 100.0] 75.0 [0.0, 100.0]" in " ".join(printed.split())
    assert printed.count("not run") == LEAST - 1
    assert matrix(summary(*scores[: LEAST - 1])) is None


def test_it_fits_eighty_columns_with_the_base_in_every_part() -> None:
    found = matrix(everything(arms=5))
    assert found is not None
    printed = text(found, 80)
    assert max(map(len, printed.splitlines())) <= 80
    assert printed.count(" base ") == 3
    assert printed.count("25.0 [0.0, 100.0]") == (5 + 6) * (3 + 3 + 2)


def text(found: Any, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_matrix_of_languages(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_page_and_the_terminal_have_it_and_what_was_trained_on(tmp_path: Path) -> None:
    found, prompts = make_run(tmp_path, problems=4)
    translated = [score for score in found["scores"] if score["language"] == "java"]
    for code in ("cpp", "rs", "d"):
        for one in translated:
            found["scores"].append({**one, "task": f"multipl-e/humaneval/{code}", "language": code})
    nothing = {"problems": 4, "runs": [], "solutions": [], "originals": []}
    shared = {**nothing, "task": "multipl-e/humaneval/java", "translated": [f"t{i}" for i in range(9)]}
    found["provenance"]["overlap"] = [{"arms": ["plain", "fourier"], "tasks": [shared]}]
    page = write_report(tmp_path, found, prompts).read_text()
    (table,) = re.findall(r'<table>(?:(?!</table>).)*<th scope="col">Language</th>.*?</table>', page, re.DOTALL)
    assert re.findall(r'<th scope="row">([^<]*)', table) == ["Python", "Java", "C++", "Rust", "D"]
    assert table.count("<td") == 5 * len({(one["arm"], one["variant"], one["model"]) for one in found["scores"]})
    assert "of 9 problems the original is trained on (t0, t1, t2, t3, t4, t5, t6, t7, t8)" in page
    console = Console(file=io.StringIO(), width=80)
    print_summary(found, console)
    assert isinstance(console.file, io.StringIO)
    printed = " ".join(console.file.getvalue().split())
    assert "pass@1 in % by language, 95 % interval" in printed
    assert "the original is trained on (t0, t1, t2, t3, t4, t5 and 3 more)" in printed
