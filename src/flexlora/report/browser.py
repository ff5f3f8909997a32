"""The samples that the page's browser shows, as JSON that no completion can break out of.

Completions and outputs are hostile text. They reach the page only inside a JSON data block, with every `<`, `>`
and `&` as a `\\u` escape, and from there only through `textContent`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from flexlora.evaluation.schema import Score, Summary
from flexlora.files import Record, read_appended
from flexlora.report.words import language_name, score_name, side_name, task_name

MOST_SAMPLES = 2_000
MOST_CHARACTERS = 4_000
"""Of a completion, prompt or output each; the files hold the rest."""

NOT_RUN = "not run"

FlipKey = tuple[str, str, str]
"""(side, task, task_id)"""


@dataclass(frozen=True, slots=True)
class Browser:
    """The embedded samples and how many there are in all."""

    json: str
    embedded: int
    total: int
    flipped_left_out: int
    flips: int
    """Comparisons in which a problem flipped."""


def collect(run_dir: Path, summary: Summary, prompts: Mapping[tuple[str, str], str]) -> Browser:
    """Choose and encode the samples: all flipped ones first, then evenly from every variant and task.

    Raises:
        UsageError: a damaged line in a samples or results file; names it.
    """
    flips = _flips(summary)
    texts: dict[tuple[str, str], int] = {}
    flipped: list[tuple[int, int]] = []
    others: list[list[tuple[int, int]]] = []
    # Two passes, so that of many long samples no more than one variant's are in memory.
    for entry, score in enumerate(summary["scores"]):
        others.append([])
        for order, sample in enumerate(samples_of(run_dir / score["path"])):
            notes = flips.get((side_name(score), score["task"], str(sample["task_id"])), [])
            (flipped if notes else others[-1]).append((entry, order))
    mixed = [item for turn in zip_longest(*others) for item in turn if item is not None]
    chosen = set((flipped + mixed)[:MOST_SAMPLES])
    samples = []
    for entry, score in enumerate(summary["scores"]):
        for order, sample in enumerate(samples_of(run_dir / score["path"])):
            if (entry, order) in chosen:
                key = score["task"], str(sample["task_id"])
                made = encoded(entry, sample, texts.setdefault(key, len(texts)))
                samples.append({**made, "flips": flips.get((side_name(score), *key), [])})
    flips_shown = _pairs(summary, samples)
    data = {
        "entries": [_entry(score, summary) for score in summary["scores"]],
        "prompts": [_short(prompts.get(key, "")) for key in texts],
        "samples": samples,
        "flips": flips_shown,
    }
    return Browser(
        json=to_inert_json(data),
        embedded=len(chosen),
        total=len(flipped) + len(mixed),
        flipped_left_out=max(0, len(flipped) - MOST_SAMPLES),
        flips=len(flips_shown),
    )


def to_inert_json(value: Any) -> str:
    """JSON that is safe inside a `<script type="application/json">` element, whatever the strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def flip_pairs(
    flips: Mapping[str, Sequence[str]],
    left: Mapping[str, Sequence[int]],
    right: Mapping[str, Sequence[int]],
    samples: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Two samples for every flipped problem, one that shows it on each side; none where a side has no sample here.

    Args:
        flips: `gained` and `lost` -> problems.
        left: problem -> places in `samples`, of what is compared with.
        right: those of the side in question.
        samples: as the page's script reads them.
    """

    def first(places: Sequence[int], passing: bool) -> int:
        return next((at for at in places if (samples[at]["status"] == "OK") == passing), places[0])

    return [
        {
            "id": task_id,
            "kind": kind,
            "left": first(left[task_id], kind == "lost"),
            "right": first(right[task_id], kind == "gained"),
        }
        for kind, task_ids in flips.items()
        for task_id in task_ids
        if left.get(task_id) and right.get(task_id)
    ]


def _pairs(summary: Summary, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every comparison in which a problem flipped (once for any k): its name and its pairs of samples."""
    entries = {(side_name(score), score["task"]): entry for entry, score in enumerate(summary["scores"])}
    places: dict[int, dict[str, list[int]]] = {}
    for at, sample in enumerate(samples):
        places.setdefault(sample["entry"], {}).setdefault(sample["id"], []).append(at)
    compared = {}
    for one in summary["comparisons"]:
        side, against, task = side_name(one), side_name(one["against"]), one["task"]
        left, right = (places.get(entries.get((name, task), -1), {}) for name in (against, side))
        pairs = flip_pairs({"gained": one["gained"], "lost": one["lost"]}, left, right, samples)
        compared[f"{side} against {against}, {task_name(task)}"] = pairs
    return [{"name": name, "pairs": pairs} for name, pairs in compared.items() if pairs]


def _flips(summary: Summary) -> dict[FlipKey, list[dict[str, str]]]:
    """What flipped on each problem, for both sides of every comparison (once for any k)."""
    own: dict[FlipKey, dict[str, str]] = {}
    others: dict[FlipKey, dict[str, dict[str, None]]] = {}
    for one in summary["comparisons"]:
        side, against, task = side_name(one), one["against"], one["task"]
        for kind, task_ids in (("gained", one["gained"]), ("lost", one["lost"])):
            for task_id in task_ids:
                words = f"{kind} against {side_name(against)}"
                own.setdefault((side, task, task_id), {})[words] = kind
                key = side_name(against), task, task_id
                others.setdefault(key, {}).setdefault(kind, {})[side] = None
    flips = {key: [{"kind": kind, "words": words} for words, kind in notes.items()] for key, notes in own.items()}
    for key, by_kind in others.items():
        for kind, sides in by_kind.items():
            flips.setdefault(key, []).append({"kind": "other", "words": f"{kind} by {', '.join(sides)}"})
    return flips


def samples_of(folder: Path) -> Iterator[Record]:
    """Samples with their verdicts; the last record of a key counts, as in scoring."""
    verdicts = {_key(record): record for record in read_appended(folder / "results.jsonl")}
    samples = {_key(record): record for record in read_appended(folder / "samples.jsonl")}
    for key, sample in samples.items():
        yield {**sample, "verdict": verdicts.get(key, {})}


def _key(record: Record) -> tuple[str, int]:
    return str(record["task_id"]), int(record["sample"])


def _entry(score: Score, summary: Summary) -> dict[str, Any]:
    return {
        "name": score_name(score, summary["scores"]),
        "side": side_name(score),
        "variant": score["variant"],
        "task": score["task"],
        "language": language_name(score["language"]),
        "path": score["path"],
        "many": score["samples_per_problem"] > 1,
    }


def encoded(entry: int, sample: Record, prompt: int | None) -> dict[str, Any]:
    """One sample with its verdict (under `verdict`), as the page's scripts read it.

    Args:
        entry: its place among the page's entries.
        prompt: its prompt's place among the page's prompts; None where the page has none.
    """
    verdict = sample["verdict"]
    tests = verdict.get("tests")
    facts: Sequence[tuple[str, Any]] = (
        ("tests passed", tests and f"{tests['passed']} of {tests['total']}"),
        ("first failed", tests and tests["first_failed"] and f"test {tests['first_failed']}, {tests['reason']}"),
        ("exit code", verdict.get("exit_code")),
        ("ran", verdict.get("wall_s")),
        ("generation ended by", sample.get("finish_reason")),
        ("prompt style", sample.get("prompt_style")),
        ("seed", sample.get("seed")),
    )
    return {
        "entry": entry,
        "id": str(sample["task_id"]),
        "sample": int(sample["sample"]),
        "prompt": prompt,
        "completion": _short(sample.get("completion")),
        "status": str(verdict.get("status", NOT_RUN)),
        "stdout": _short(verdict.get("stdout")),
        "stderr": _short(verdict.get("stderr")),
        "facts": [[name, _fact(value)] for name, value in facts if value is not None],
    }


def _fact(value: Any) -> str:
    return f"{value:.2f} s" if isinstance(value, float) else str(value)


def _short(text: Any) -> str:
    whole = "" if text is None else str(text)
    left = len(whole) - MOST_CHARACTERS
    return f"{whole[:MOST_CHARACTERS]}\n… {left:,} more characters in the run's files" if left > 0 else whole
