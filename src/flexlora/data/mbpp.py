"""MBPP (Austin et al. 2021, arXiv 2108.07732): 974 short Python problems, to train on and to evaluate.

Splits go by task_id: 1-10 are the few-shot prompts, 11-510 test, 511-600 validation, 601-974 train. Two prompt
styles: `docstring` (the problem and its first test in a docstring) and `three-shot` (problems 2, 3 and 4 with
`[BEGIN]` and `[DONE]` marks, as the paper prompts a base model).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from flexlora.data.family import Family
from flexlora.data.source import HubDataset, Origin, load_benchmark
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.recipe import Task

HUB = HubDataset(
    repository="google-research-datasets/mbpp", config="full", revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c"
)
FILE = "mbpp.jsonl"
SPLITS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
    "all": range(1, 975),
}
DOCSTRING_STOP_TOKENS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
THREE_SHOT_IDS = (2, 3, 4)
TIMEOUT_S = 3.0

Style = Literal["docstring", "three-shot"]


def examples(data_dir: Path | None, split: str, style: Style) -> tuple[list[Example], Origin]:
    """Training pairs: the prompt as it is evaluated, and the reference code as completion."""
    records, origin = _records(data_dir)
    return [
        Example(
            source="mbpp",
            key=_key(record),
            prompt=_prompt(record, style, records),
            completion=_solution(record, style),
        )
        for record in _of_split(records, split)
    ], origin


def problems(data_dir: Path | None, split: str, style: Style) -> tuple[list[Problem], Origin]:
    """The problems of a split. Program: prompt (docstring style), completion, set-up code, tests."""
    records, origin = _records(data_dir)
    return [
        Problem(
            task="mbpp",
            task_id=_key(record),
            language="py",
            prompt=_prompt(record, style, records),
            prompt_style=style,
            stop_tokens=DOCSTRING_STOP_TOKENS if style == "docstring" else ("[DONE]",),
            # A three-shot prompt is not Python, so the program starts with the completion.
            prefix=_prompt(record, style, records) if style == "docstring" else "",
            suffix="\n" + "\n".join([_clean(record["test_setup_code"]), *map(_clean, record["test_list"])]) + "\n",
            timeout_s=TIMEOUT_S,
            reference=_solution(record, style),
        )
        for record in _of_split(records, split)
    ], origin


def _records(data_dir: Path | None) -> tuple[dict[int, dict[str, Any]], Origin]:
    columns = ("task_id", "text", "code", "test_list", "test_setup_code")
    # On the hub the splits are files of their own; `train+...` asks for all of them.
    records, origin = load_benchmark(data_dir, FILE, HUB, "prompt+test+validation+train", columns)
    by_id: dict[int, dict[str, Any]] = {}
    for number, record in enumerate(records, start=1):
        texts = [record["text"], record["code"], record["test_setup_code"], *_list(record["test_list"])]
        if type(record["task_id"]) is not int or not record["test_list"] or not all(isinstance(t, str) for t in texts):
            raise UsageError(
                f"mbpp: record {number} of {origin.source} (task_id {record['task_id']!r}) is damaged: task_id must be "
                "a number, test_list a list of texts, and text, code and test_setup_code texts."
            )
        if record["task_id"] in by_id:
            raise UsageError(f"mbpp: task_id {record['task_id']} occurs twice in {origin.source}.")
        by_id[record["task_id"]] = record
    return by_id, origin


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _of_split(records: dict[int, dict[str, Any]], split: str) -> list[dict[str, Any]]:
    if split not in SPLITS:
        raise UsageError(f"mbpp has no split {split!r}; it has {', '.join(SPLITS)}.")
    return [records[task_id] for task_id in SPLITS[split] if task_id in records]


def _prompt(record: dict[str, Any], style: Style, records: dict[int, dict[str, Any]]) -> str:
    if style == "docstring":
        return f'"""\n{_clean(record["text"])}\n{_clean(record["test_list"][0])}\n"""\n'
    missing = [task_id for task_id in THREE_SHOT_IDS if task_id not in records]
    if missing:
        raise UsageError(f"mbpp: the three-shot prompt needs problem {missing[0]}, which the data does not hold.")
    shots = [_question(records[i]) + f"[BEGIN]\n{_clean(records[i]['code'])}\n[DONE]\n" for i in THREE_SHOT_IDS]
    return "".join(shots) + _question(record) + "[BEGIN]\n"


def _question(record: dict[str, Any]) -> str:
    tests = "\n".join(map(_clean, record["test_list"]))
    return (
        f"You are an expert Python programmer, and here is your task: {_clean(record['text'])} "
        f"Your code should pass these tests:\n\n{tests}\n"
    )


def _solution(record: dict[str, Any], style: Style) -> str:
    return _clean(record["code"]).rstrip() + ("\n" if style == "docstring" else "\n[DONE]")


def _key(record: dict[str, Any]) -> str:
    return f"MBPP/{record['task_id']}"


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n")


def _load(task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    if task.prompt_style == "three-shot" and task.split in ("prompt", "all"):
        raise UsageError(
            f"task mbpp: split {task.split} holds the problems whose solutions stand in the three-shot prompt; "
            "evaluate another split, or the docstring style."
        )
    return problems(data_dir, cast(str, task.split), cast(Style, task.prompt_style))


FAMILY = Family(
    name="mbpp",
    tasks=("mbpp",),
    load=_load,
    languages=("py",),
    size="500 (test), 374 (train), 90 (validation), 10 (prompt)",
    styles=("docstring", "three-shot"),
    splits=("test", "train", "validation", "prompt", "all"),
    prompt="text and first test in a docstring, or three solved problems before it",
    stops=DOCSTRING_STOP_TOKENS,
    source=HUB.repository,
    revision=HUB.revision,
    file=FILE,
    licence="CC-BY-4.0",
    state="verified",
)
