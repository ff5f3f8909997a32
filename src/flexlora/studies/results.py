"""All answers of a study in one file, `results.jsonl` (packed where its name ends in `.gz`), small enough to commit.

Lines, in this order; with the study's YAML, every score, comparison and trade-off can be computed from them alone:

    {"schema": 1, "study": NAME}
    {"task": TASK, "language": LANGUAGE, "problems": [ID, ...]}
    {"config": CONFIGURATION, "arm": ARM, "point": {...}, "base": BASE}
    {"config": CONFIGURATION, "variant": VARIANT, "task": TASK, "samples": N, "passes": {SEED: PASSES, ...}}

PASSES says of every problem, in the order of its task, how many of its N samples passed: a digit each, or a list of
numbers where N is above 9. Of a base and its baselines the arm is null.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexlora.errors import UsageError
from flexlora.evaluation.passk import pass_at_k
from flexlora.files import Record, read_jsonl, write_whole

SCHEMA = 1
DIGITS = 9
"""Most samples whose passes are one digit."""

Key = tuple[str, str, str]
"""(configuration, variant, task)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProblems:
    """One task's problems, sorted; the same for all that is in a study."""

    language: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a configuration is of."""

    arm: str | None
    """None for a base or baseline."""
    point: dict[str, Any]
    base: str
    """The configuration that it is compared with as its base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One configuration and variant on one task."""

    samples: int
    """Per problem."""
    passes: dict[int, tuple[int, ...]]
    """Seed -> how many samples of each problem passed."""

    def values(self, seeds: Sequence[int], k: int) -> npt.NDArray[np.float64]:
        """(seeds, problems): pass@k.

        Raises:
            UsageError: k is greater than the samples.
        """
        of_count = np.array([pass_at_k(self.samples, count, k) for count in range(self.samples + 1)])
        values: npt.NDArray[np.float64] = of_count[[self.passes[seed] for seed in seeds]]
        return values

    def solved(self, seeds: Sequence[int]) -> npt.NDArray[np.float64]:
        """(seeds, problems): 1 where at least half of the samples pass, as `flexlora.evaluation` has it; else 0."""
        counts = np.array([self.passes[seed] for seed in seeds])
        return (2 * counts >= self.samples).astype(np.float64)


@dataclass(slots=True, kw_only=True)
class Results:
    """All answers of a study that are there."""

    study: str
    tasks: dict[str, TaskProblems] = field(default_factory=dict)
    configurations: dict[str, Origin] = field(default_factory=dict)
    """In the order of reports: bases, baselines, then the arms'."""
    answers: dict[Key, Answers] = field(default_factory=dict)

    def variants(self, config: str) -> list[str]:
        """What a configuration was evaluated as."""
        return list(dict.fromkeys(variant for name, variant, _ in self.answers if name == config))

    def of(self, config: str, variant: str, task: str) -> Answers | None:
        """Its answers; None where there are none."""
        return self.answers.get((config, variant, task))


def write_results(path: Path, results: Results) -> None:
    """Write them whole; equal results give equal files.

    Raises:
        FlexError: the file cannot be written.
    """
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in _records(results)]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def load_results(path: Path) -> Results:
    """Read what `write_results` wrote, packed or not.

    Raises:
        UsageError: the file is missing, damaged, of another version, or contradicts itself; names the line.
    """
    lines = list(read_jsonl(path))
    schema = lines[0][1].get("schema") if lines else None
    if schema != SCHEMA:
        raise UsageError(
            f"{path}: has schema {schema!r}, this version reads {SCHEMA}. `flexlora study report` on the study's "
            "folder writes it anew."
        )
    results = Results(study=str(lines[0][1].get("study", "")))
    for number, record in lines[1:]:
        try:
            _add(results, record)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}, line {number}: {type(error).__name__}: {error}. The file is damaged; `flexlora study report` "
                "on the study's folder writes it anew."
            ) from error
    return results


def _records(results: Results) -> list[Record]:
    records: list[Record] = [{"schema": SCHEMA, "study": results.study}]
    records += [
        {"task": name, "language": task.language, "problems": list(task.problems)}
        for name, task in results.tasks.items()
    ]
    records += [
        {"config": name, "arm": origin.arm, "point": origin.point, "base": origin.base}
        for name, origin in results.configurations.items()
    ]
    records += [
        {
            "config": config,
            "variant": variant,
            "task": task,
            "samples": answers.samples,
            "passes": {
                str(seed): list(passes) if answers.samples > DIGITS else "".join(map(str, passes))
                for seed, passes in answers.passes.items()
            },
        }
        for (config, variant, task), answers in results.answers.items()
    ]
    return records


def _add(results: Results, record: Record) -> None:
    if "problems" in record:
        task = TaskProblems(language=record["language"], problems=tuple(record["problems"]))
        results.tasks[record["task"]] = task
    elif "passes" in record:
        if record["config"] not in results.configurations:
            raise ValueError(f"{record['config']} is no configuration named above")
        problems = len(results.tasks[record["task"]].problems)
        samples = int(record["samples"])
        passes = {int(seed): tuple(map(int, counts)) for seed, counts in record["passes"].items()}
        for seed, counts in passes.items():
            if len(counts) != problems or not all(0 <= count <= samples for count in counts):
                raise ValueError(f"seed {seed}: not {problems} numbers from 0 to {samples}")
        key = (record["config"], record["variant"], record["task"])
        if key in results.answers:
            raise ValueError(f"{', '.join(key)} stands there twice")
        results.answers[key] = Answers(samples=samples, passes=passes)
    else:
        results.configurations[record["config"]] = Origin(arm=record["arm"], point=record["point"], base=record["base"])
