"""The programs of problems that flipped between configurations, from the files of the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlora.evaluation.schema import read_summary
from flexlora.files import Record
from flexlora.report.browser import encoded, samples_of, to_inert_json
from flexlora.report.study_words import EXPLORATORY, kind, side
from flexlora.report.words import task_name

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings, StudyComparison

MOST_PROGRAMS = 600
"""On the page; the cells' files have all."""
Samples = dict[str, Record]
"""Problem -> its first sample, with its verdict."""


@dataclass(slots=True)
class StudyFlips:
    """What the page's script reads, as far as it is collected."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    flips: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    """Flipped problems whose programs are not on the page."""

    def json(self) -> str:
        """Safe within a page."""
        return to_inert_json({"entries": self.entries, "prompts": [], "samples": self.samples, "flips": self.flips})


def study_flips(folder: Path, findings: Findings) -> StudyFlips:
    """Two programs for every flipped problem of the primary and confirmatory comparisons, then of others.

    Of the seeds, the first in which the problem flipped the same way is shown.

    Raises:
        UsageError: a damaged file of a cell; names it.
    """
    reader, made = _Reader(folder, findings), StudyFlips()
    places: dict[tuple[str, str, int, str, str], int] = {}
    for one in sorted(findings["comparisons"], key=lambda one: kind(one) == EXPLORATORY):
        name = f"{side(one['config'], one['variant'])} against {one['against']}, {task_name(one['task'])}"
        pairs = []
        for task_id, way, seed, samples in reader.pairs(one):
            if len(made.samples) + 2 > MOST_PROGRAMS:
                made.left_out += 1
                continue
            keys = [(config, variant, own, one["task"], task_id) for config, variant, own in reader.sides(one, seed)]
            for key, sample in zip(keys, samples, strict=True):
                if key not in places:
                    places[key] = len(made.samples)
                    made.samples.append(encoded(_entry(made, side(*key[:2])), sample, None))
            pairs.append({"id": task_id, "kind": way, "left": places[keys[0]], "right": places[keys[1]]})
        if pairs and name not in [other["name"] for other in made.flips]:
            made.flips.append({"name": name, "pairs": pairs})
    return made


class _Reader:
    """Reads the samples of cells, each file once."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        self._folder = folder
        self._configurations = {one["name"]: one for one in findings["configurations"]}
        self._paths: dict[Path, dict[tuple[str | None, str, str], str]] = {}
        self._samples: dict[Path, Samples] = {}
        self._bases = {path.parent.name: path.parent for path in folder.glob("bases/*/summary.json")}

    def sides(self, one: StudyComparison, seed: int) -> list[tuple[str, str, int]]:
        """(configuration, variant, seed) of what is compared with and of the side in question; a base has one seed."""
        is_base = one["against"] in self._bases
        against = (one["against"], "base", 0) if is_base else (one["against"], one["variant"], seed)
        return [against, (one["config"], one["variant"], seed)]

    def pairs(self, one: StudyComparison) -> Iterator[tuple[str, str, int, tuple[Record, Record]]]:
        """(problem, `gained` or `lost`, seed, both samples) of every flipped problem whose samples are there."""
        for way, task_ids in (("gained", one["gained"]), ("lost", one["lost"])):
            for task_id in task_ids:
                for seed in one["seeds"]:
                    left, right = (
                        self._of(config, variant, own, one["task"]).get(task_id)
                        for config, variant, own in self.sides(one, seed)
                    )
                    if left and right and (_passed(left), _passed(right)) == (way == "lost", way == "gained"):
                        yield task_id, way, seed, (left, right)
                        break

    def _of(self, config: str, variant: str, seed: int, task: str) -> Samples:
        if config in self._bases:
            return self._in(self._bases[config], (None, variant, task))
        found = self._configurations.get(config)
        cell = found["cells"].get(str(seed)) if found else None
        return self._in(self._folder / cell, (found["arm"], variant, task)) if found and cell else {}

    def _in(self, cell: Path, key: tuple[str | None, str, str]) -> Samples:
        """What a cell has of an (arm, variant, task)."""
        if cell not in self._paths:
            # A cell that is gone, or moved to another machine, has no programs to show.
            scores = read_summary(cell)["scores"] if (cell / "summary.json").exists() else []
            self._paths[cell] = {(score["arm"], score["variant"], score["task"]): score["path"] for score in scores}
        place = self._paths[cell].get(key)
        if place is None:
            return {}
        path = cell / place
        if path not in self._samples:
            samples: Samples = {}
            for sample in samples_of(path):
                samples.setdefault(str(sample["task_id"]), sample)
            self._samples[path] = samples
        return self._samples[path]


def _passed(sample: Record) -> bool:
    return bool(sample["verdict"].get("passed"))


def _entry(made: StudyFlips, name: str) -> int:
    """The place of a side's name among the entries."""
    names: Sequence[str] = [entry["name"] for entry in made.entries]
    if name not in names:
        made.entries.append({"name": name})
    return len(names) if name not in names else names.index(name)
