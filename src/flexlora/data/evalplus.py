"""HumanEval+ and MBPP+ (EvalPlus, Liu et al. 2023, arXiv 2305.01210): HumanEval and MBPP with many more test inputs.

A problem is passed if the original tests and the further ones are. Two published formats, told apart by their columns:

- EvalPlus's releases (`HumanEvalPlus.jsonl`, `MbppPlus.jsonl`, also gzipped): inputs and a reference solution, which
  runs beside the candidate. Answers are compared by EvalPlus's rules (`evalplus_check.py`), and each input has its time
  limit of four times the reference's, at least a second; in processor time, where EvalPlus takes the clock's.
- the hub's `evalplus/humanevalplus` and `evalplus/mbppplus`: a test program a record, with its answers, whose rules are
  stricter on some problems of MBPP (those with answers in no order, or two readings) and have no limit for an input.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flexlora.data import mbpp
from flexlora.data.family import Family
from flexlora.data.source import HubDataset, Origin, Record, load_benchmark
from flexlora.data.types import Problem
from flexlora.errors import UsageError
from flexlora.recipe import Task

HUMANEVAL_HUB = HubDataset(repository="evalplus/humanevalplus", revision="d32357cf319e50e9c8d8dab5ea876c72b0fd321b")
MBPP_HUB = HubDataset(repository="evalplus/mbppplus", revision="b2d74c91837c3f2a20c1299ae98133cbe7cfa077")
HUMANEVAL_FILE, MBPP_FILE = "HumanEvalPlus.jsonl", "MbppPlus.jsonl"
STOP_TOKENS = ("\nif __name__", "\ndef main(", "\nprint(")
HUMANEVAL_STOP_TOKENS = (*STOP_TOKENS, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
MBPP_STOP_TOKENS = (*STOP_TOKENS, '\n"""', "\nassert")
TIMEOUT_S = 60.0
"""EvalPlus's own for all inputs of a problem together."""
CHECK = (Path(__file__).parent / "evalplus_check.py").read_text("utf-8")

RELEASED = {"prompt": str, "entry_point": str, "canonical_solution": str, "base_input": list}
HUMANEVAL_ON_HUB = {"prompt": str, "entry_point": str, "canonical_solution": str, "test": str}
MBPP_ON_HUB = {"prompt": str, "code": str, "test_imports": list, "test_list": list, "test": str}

BROKEN_TEST, MENDED_TEST = "_poly(*candidate(*inp), inp)", "abs(_poly(*inp, candidate(*inp)))"
"""The hub's test of HumanEval/32 has the polynomial's arguments the wrong way round, so that nothing passes it."""


def humaneval_problems(data_dir: Path | None) -> tuple[list[Problem], Origin]:
    """HumanEval+, its prompt as published."""
    records, origin = load_benchmark(data_dir, HUMANEVAL_FILE, HUMANEVAL_HUB, "test", ("task_id",))
    made = []
    for number, record in enumerate(records, start=1):
        where = f"humaneval+: record {number} of {origin.source} (task_id {record['task_id']!r})"
        _check(record, HUMANEVAL_ON_HUB if "test" in record else RELEASED, where)
        name = record["entry_point"]
        if "test" in record:
            suffix = f"{_prepared()}\n{record['test'].replace(BROKEN_TEST, MENDED_TEST)}\ncheck({name})\n"
        else:
            suffix = _differential(record, record["prompt"] + record["canonical_solution"], "humaneval", _as_it_is)
        made.append(
            Problem(
                task="humaneval+",
                task_id=str(record["task_id"]),
                language="py",
                prompt=record["prompt"],
                prompt_style="verbatim",
                stop_tokens=HUMANEVAL_STOP_TOKENS,
                prefix=record["prompt"],
                suffix=suffix,
                timeout_s=TIMEOUT_S,
                reference=record["canonical_solution"],
            )
        )
    return made, origin


def mbpp_problems(data_dir: Path | None, split: str) -> tuple[list[Problem], Origin]:
    """MBPP+, its prompt a docstring with the text and the first test; the splits are MBPP's."""
    records, origin = load_benchmark(data_dir, MBPP_FILE, MBPP_HUB, "test", ("task_id",))
    made = []
    for number, record in enumerate(records, start=1):
        where = f"mbpp+: record {number} of {origin.source} (task_id {record['task_id']!r})"
        on_hub = "test" in record
        _check(record, MBPP_ON_HUB if on_hub else RELEASED, where)
        task_id = _number(record["task_id"], where)
        if task_id not in mbpp.SPLITS[split]:
            continue
        if on_hub:
            if not record["test_list"]:
                raise UsageError(f"{where}: test_list is empty.")
            prompt = f'"""\n{record["prompt"].strip()}\n{record["test_list"][0]}\n"""\n'
            suffix = "\n".join([_prepared(), *record["test_imports"], record["test"], ""])
            solution = record["code"]
        else:
            prompt, solution = record["prompt"].rstrip("\n") + "\n", record["canonical_solution"]
            suffix = _differential(record, solution, "mbpp", TUPLES.get(task_id, _as_it_is))
        made.append(
            Problem(
                task="mbpp+",
                task_id=f"MBPP/{task_id}",
                language="py",
                prompt=prompt,
                prompt_style="docstring",
                stop_tokens=MBPP_STOP_TOKENS,
                prefix=prompt,
                suffix=suffix,
                timeout_s=TIMEOUT_S,
                reference=solution.strip("\n") + "\n",
            )
        )
    return made, origin


def _check(record: Record, columns: Mapping[str, type], where: str) -> None:
    for column, kind in columns.items():
        if not isinstance(record.get(column), kind):
            found = type(record[column]).__name__ if column in record else "no such column"
            raise UsageError(
                f"{where}: {column} must be {'text' if kind is str else 'a list'} (found {found}); use EvalPlus's "
                "release or the hub's data as they are."
            )


def _number(task_id: Any, where: str) -> int:
    """Of a problem of MBPP: 2, or `Mbpp/2`."""
    try:
        return int(str(task_id).rsplit("/", 1)[-1])
    except ValueError:
        raise UsageError(f"{where}: a task_id of MBPP+ is a number or Mbpp/NUMBER.") from None


def _prepared() -> str:
    """Before a test program of the hub: it imports numpy, which need not be there."""
    return f"\n_evalplus = {{}}\nexec({CHECK!r}, _evalplus)\n_evalplus['stand_in_for_numpy']()\n"


def _differential(record: Record, reference: str, dataset: str, restored: Callable[[list[Any]], list[Any]]) -> str:
    """The end of a program that compares it with the reference on all inputs."""
    inputs = [*map(restored, record["base_input"]), *map(restored, record.get("plus_input") or [])]
    name, atol = record["entry_point"], record.get("atol") or 0
    # Inputs of a megabyte as a literal would take the interpreter 170 megabytes to read.
    pickled = pickle.dumps(inputs, protocol=4)
    return (
        f"\n_evalplus = {{}}\nexec({CHECK!r}, _evalplus)\n"
        f"_evalplus['run']({name}, {reference!r}, {name!r}, {pickled!r}, {atol!r}, {dataset!r})\n"
    )


def _as_it_is(arguments: list[Any]) -> list[Any]:
    return arguments


def _tuples(*depths: int | None) -> Callable[[list[Any]], list[Any]]:
    """Restores tuples that JSON made lists: of each argument the lists this deep in it (0: itself), None for none."""

    def restored(arguments: list[Any]) -> list[Any]:
        wanted = (*depths, *[depths[-1]] * (len(arguments) - len(depths)))
        return [
            value if depth is None else _deep(value, depth) for value, depth in zip(arguments, wanted, strict=False)
        ]

    return restored


def _deep(value: Any, depth: int | None) -> Any:
    if depth is None:
        return value
    if depth == 0:
        return tuple(value) if isinstance(value, list) else value
    return [_deep(item, depth - 1) for item in value] if isinstance(value, list) else value


def _all_tuples(value: Any) -> Any:
    return tuple(map(_all_tuples, value)) if isinstance(value, list) else value


def _both_deep(arguments: list[Any]) -> list[Any]:
    return [tuple(_deep(value, 1)) for value in arguments]


# What EvalPlus's releases leave to `evalplus.data.mbpp_deserialize_inputs`, by the number of the problem.
TUPLES: dict[int, Callable[[list[Any]], list[Any]]] = {
    **dict.fromkeys(
        (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
        _tuples(0),
    ),
    **dict.fromkeys((63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780), _tuples(1)),
    **dict.fromkeys((75, 413, 444, 753), _tuples(1, None)),
    **dict.fromkeys((106, 750), _tuples(None, 0)),
    **dict.fromkeys((250, 307, 405, 446, 617, 720, 763, 808), _tuples(0, None)),
    **dict.fromkeys((259, 278, 401, 445), _both_deep),
    **dict.fromkeys((580, 615, 791), lambda arguments: list(map(_all_tuples, arguments))),
    115: lambda arguments: [[set(item) if item else {} for item in arguments[0]]],
    124: lambda arguments: [float(arguments[0]), complex(arguments[1])],
    252: lambda arguments: [complex(arguments[0])],
    722: lambda arguments: [{key: tuple(value) for key, value in arguments[0].items()}, *arguments[1:]],
}


def _load_humaneval(_task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    return humaneval_problems(data_dir)


def _load_mbpp(task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    return mbpp_problems(data_dir, task.split or "all")


HUMANEVAL = Family(
    name="humaneval+",
    tasks=("humaneval+",),
    load=_load_humaneval,
    languages=("py",),
    size="164",
    styles=("verbatim",),
    prompt="signature and docstring, as published",
    stops=HUMANEVAL_STOP_TOKENS,
    scored="pass@k on the original and the further tests",
    source=HUMANEVAL_HUB.repository,
    revision=HUMANEVAL_HUB.revision,
    file=HUMANEVAL_FILE,
    licence="Apache-2.0",
    state="format-tested",
)
MBPP = Family(
    name="mbpp+",
    tasks=("mbpp+",),
    load=_load_mbpp,
    languages=("py",),
    size="378 (all)",
    styles=("docstring",),
    splits=("all", "test", "train", "validation", "prompt"),
    prompt="text and first test in a docstring",
    stops=MBPP_STOP_TOKENS,
    scored="pass@k on the original and the further tests",
    source=MBPP_HUB.repository,
    revision=MBPP_HUB.revision,
    file=MBPP_FILE,
    licence="Apache-2.0",
    state="format-tested",
)
