"""A study's folder as `flexlora study run` leaves it, without a model: its cells' files, and its findings.

Whether a problem is solved is drawn from its difficulty, the configuration's skill and the seed's luck, so that scores
correlate over seeds and problems as real ones do. All of it is the same each time.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from flexlora.evaluation.holm import holm
from flexlora.files import write_json, write_whole
from flexlora.studies.findings import Configuration, Curve, Findings, Point, StudyComparison, StudyScore
from flexlora.studies.fronts import front_area, front_of

HOSTILE = "</script><script>document.title='pwned'</script>"
TASKS = {"tiny/A/py": "py", "tiny/A/java": "java", "tiny/B1/py": "py", "tiny/B1/java": "java"}
PROBLEMS = 60
LAM, TARGETS = "penalty.lam", "lora.targets"
SKILLS: dict[str, dict[str, float]] = {
    "base": {"tiny/A/py": 0.92, "tiny/A/java": 0.88, "tiny/B1/py": 0.18, "tiny/B1/java": 0.15},
    "none": {"tiny/A/py": 0.90, "tiny/A/java": 0.62, "tiny/B1/py": 0.84, "tiny/B1/java": 0.40},
    "factors lam=0.005": {"tiny/A/py": 0.90, "tiny/A/java": 0.66, "tiny/B1/py": 0.83, "tiny/B1/java": 0.42},
    "factors lam=0.02": {"tiny/A/py": 0.91, "tiny/A/java": 0.83, "tiny/B1/py": 0.81, "tiny/B1/java": 0.47},
    "factors lam=0.08": {"tiny/A/py": 0.91, "tiny/A/java": 0.84, "tiny/B1/py": 0.55, "tiny/B1/java": 0.33},
    "permuted lam=0.02": {"tiny/A/py": 0.91, "tiny/A/java": 0.74, "tiny/B1/py": 0.80, "tiny/B1/java": 0.45},
}
CONFIRMATORY = ("none", "factors lam=0.02", "permuted lam=0.02")
SEEDS, FEW = 8, 3
REFERENCE = -0.4


def make_study(folder: Path) -> Findings:
    """Write the cells, `study.yaml` and `study.json`; give the findings."""
    configurations = [_configuration(name) for name in SKILLS if name != "base"]
    solved = {("base", task): np.array([_solve(folder, None, "base", task, 0)]) for task in TASKS}
    for one in configurations:
        for task in TASKS:
            rows = [_solve(folder, one, one["name"], task, seed) for seed in one["seeds"]]
            solved[one["name"], task] = np.array(rows)
        for seed in one["seeds"]:
            _write_logs(folder / one["cells"][str(seed)] / one["arm"] / "train", one, seed)
    for cell, arm in [("bases/base", None)] + [
        (one["cells"][str(seed)], one["arm"]) for one in configurations for seed in one["seeds"]
    ]:
        _write_summary(folder / cell, arm)
    scores = [_score(config, task, solved[config, task]) for config in SKILLS for task in TASKS]
    findings: Findings = {
        "schema": 1,
        "name": "controls",
        "description": "Is it the frequency? The penalty against its permuted control, on the embedded model.",
        "model": "tiny",
        "models": ["tiny"],
        "plan": {
            "name": "controls",
            "seeds": list(range(SEEDS)),
            "grid": {LAM: [0.005, 0.02, 0.08]},
            "analysis": {"primary": {"config": "factors lam=0.02", "against": "permuted lam=0.02"}},
        },
        "keys": {LAM: "lam"},
        "configurations": configurations,
        "scores": scores,
        "comparisons": _comparisons(solved),
        "tradeoffs": {
            "gain": ["tiny/B1/py"],
            "retention": ["tiny/A/java"],
            "reference": REFERENCE,
            "curves": [_curve(arm, solved) for arm in ("none", "factors", "permuted")],
        },
        "paper": [
            {
                "config": "factors lam=0.02",
                "measure": "tiny/A/java",
                "variant": "adapter",
                "paper": 42.07,
                "ours": 100 * next(s for s in scores if s["config"] == "factors lam=0.02")["estimate"],
                "low": 85.0,
                "high": 95.0,
                "note": "the maximum over unstated runs",
            },
            {
                "config": "none",
                "measure": "peak_memory_mb",
                "variant": "adapter",
                "paper": 3671,
                "ours": None,
                "low": None,
                "high": None,
                "note": "",
            },
        ],
        "failures": [
            {
                "cell": "factors,lam=0.08,seed=2",
                "error": f"FlexError: loss is nan at step 40 {HOSTILE}",
                "log": "logs/a.log",
            }
        ],
        "unfinished_bases": [],
        "cells": 32,
        "finished": sum(len(one["seeds"]) for one in configurations),
        "provenance": {
            "models": [{"model": "tiny", "sha256": "0" * 64}],
            "environment": {"flexlora": "0.1.0"},
            "differs": {"hostname": HOSTILE},
        },
    }
    write_whole(folder / "study.yaml", "name: controls\n")
    write_json(folder / "study.json", findings)
    return findings


def _configuration(name: str) -> Configuration:
    arm, _, lam = name.partition(" lam=")
    confirmatory = name in CONFIRMATORY
    seeds = list(range(SEEDS if confirmatory else FEW))
    unfinished = [2] if name == "factors lam=0.08" else [7] if name == "none" else []
    seeds = [seed for seed in seeds if seed not in unfinished]
    cell = name.replace(" ", ",")
    return {
        "name": name,
        "arm": arm,
        "point": {LAM: float(lam)} if lam else {},
        "seeds": seeds,
        "unfinished": unfinished,
        "cells": {str(seed): f"cells/{cell},seed={seed}" for seed in seeds},
        "confirmatory": confirmatory,
        "cost": {
            "trainable_parameters": 61_440,
            "steps": 400,
            "train_s": 151.5 if lam else 139.2,
            "peak_memory_gb": 0.91,
            "validation_loss": 0.231 if lam else None,
        },
    }


def _solve(folder: Path, one: Configuration | None, name: str, task: str, seed: int) -> list[float]:
    """Draw which problems a cell solves on a task, and write its samples and verdicts."""
    luck = random.Random(f"{name}/{task}/{seed}").gauss(0, 0.02)
    passed = []
    for number in range(PROBLEMS):
        difficulty = 0.75 * random.Random(f"{task}/{number}").random()
        difficulty += 0.25 * random.Random(f"{name}/{task}/{number}/{seed}").random()
        passed.append(difficulty < SKILLS[name][task] + luck)
    cell = one["cells"][str(seed)] if one else "bases/base"
    place = folder / cell / (f"{one['arm']}/eval/adapter" if one else "base") / task.replace("/", "--")
    samples, results = [], []
    for number, good in enumerate(passed):
        key = {"task_id": f"{task}/{number}", "sample": 0}
        dice = random.Random(f"{name}/{number}/{seed}")
        lines = "".join(f"    total += values[{i}] * {dice.randint(1, 3)}\n" for i in range(4))
        completion = f"    total = {int(good)}  # {HOSTILE}\n{lines}    return total\n"
        samples.append({**key, "completion": completion, "finish_reason": "stop", "seed": seed})
        verdict = {"status": "OK" if good else "Exception", "passed": good, "exit_code": int(not good)}
        stderr = "" if good else f"AssertionError: solve({number}) is wrong"
        times = {"wall_s": 0.05, "cpu_s": 0.04, "cached": False}
        results.append({**key, "language": TASKS[task], **verdict, "stdout": "", "stderr": stderr, **times})
    for file, records in (("samples", samples), ("results", results)):
        write_whole(place / f"{file}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    return [float(good) for good in passed]


def _write_summary(cell: Path, arm: str | None) -> None:
    """As far as the page reads it: where each task's files are."""
    scores = [
        {
            "arm": arm,
            "variant": "adapter" if arm else "base",
            "model": "tiny",
            "task": task,
            "language": language,
            "path": f"{arm}/eval/adapter/{task.replace('/', '--')}" if arm else f"base/{task.replace('/', '--')}",
        }
        for task, language in TASKS.items()
    ]
    write_json(cell / "summary.json", {"schema": 1, "name": cell.name, "scores": scores, "comparisons": []})


def _write_logs(train: Path, one: Configuration, seed: int) -> None:
    noise = random.Random(f"{one['name']}/{seed}")
    lam = one["point"].get(LAM, 0.0)
    log, spectrum = [], []
    for step in range(10, 401, 10):
        record: dict[str, Any] = {"step": step, "train_s": 0.35 * step, "lam": lam}
        loss = 0.25 + 0.9 * math.exp(-step / 90) + lam + noise.uniform(-0.03, 0.03)
        log.append({**record, "loss": loss, "grad_norm": 0.4 + lam + noise.uniform(0, 0.3)})
        if step % 50 == 0:
            log.append({**record, "eval_loss": 0.28 + 0.6 * math.exp(-step / 120) + lam})
    for step in range(0, 401, 50):
        high = math.exp(-20 * lam * step / 400)
        bands = {f: [(1 if i < 8 else high) * (1 + noise.uniform(0, 0.05)) for i in range(16)] for f in "AB"}
        energy = {f: sum(values) for f, values in bands.items()}
        spectrum.append(
            {
                "step": step,
                "view": "factors",
                "tau": 0.5,
                "energy": energy,
                "bands": bands,
                "noise": {f: [1 / 16] * 16 for f in bands},
                "share": {f: sum(values[8:]) / energy[f] for f, values in bands.items()},
                "centroid": {f: sum((i + 0.5) / 16 * b for i, b in enumerate(bands[f])) / energy[f] for f in bands},
                "noise_share": dict.fromkeys(bands, 0.5),
                "noise_centroid": dict.fromkeys(bands, 0.5),
            }
        )
    for file, records in (("log", log), ("spectrum", spectrum)):
        write_whole(train / f"{file}.jsonl", "".join(json.dumps(record) + "\n" for record in records))


def _score(config: str, task: str, values: np.ndarray[Any, Any]) -> StudyScore:
    estimate = float(values.mean())
    half = 1.96 * math.sqrt(estimate * (1 - estimate) / PROBLEMS)
    return {
        "config": config,
        "variant": "base" if config == "base" else "adapter",
        "task": task,
        "language": TASKS[task],
        "k": 1,
        "problems": PROBLEMS,
        "seeds": list(range(len(values))),
        "estimate": estimate,
        "low": max(0.0, estimate - half),
        "high": min(1.0, estimate + half),
        "per_seed": [float(row.mean()) for row in values],
    }


def _comparisons(solved: dict[tuple[str, str], np.ndarray[Any, Any]]) -> list[StudyComparison]:
    primary = [
        _compare("factors lam=0.02", "permuted lam=0.02", task, "primary", solved)
        for task in ("tiny/A/java", "tiny/B1/java")
    ]
    others = [
        _compare(config, against, task, kind, solved)
        for kind, configs in (
            ("confirmatory", CONFIRMATORY),
            ("exploratory", [c for c in SKILLS if c not in (*CONFIRMATORY, "base")]),
        )
        for against in ("none", "permuted lam=0.02", "base")
        for task in TASKS
        for config in configs
        if config != against and not (kind == "confirmatory" and (config, against) == ("none", "permuted lam=0.02"))
    ]
    found = [*primary, *others]
    for family in dict.fromkeys(one["family"] for one in found):
        members = {str(n): one["p_value"] for n, one in enumerate(found) if one["family"] == family}
        for n, p in holm(members).items():
            found[int(n)]["p_corrected"] = p
    return found


def _compare(config: str, against: str, task: str, kind: str, solved: dict[tuple[str, str], Any]) -> StudyComparison:
    after, before = solved[config, task], solved[against, task]
    seeds = min(len(after), len(after) if against == "base" else len(before))
    after, before = after[:seeds], np.broadcast_to(before, (seeds, PROBLEMS)) if against == "base" else before[:seeds]
    change = after - before
    difference, error = float(change.mean()), _standard_error(change)
    p_value = 2 * NormalDist().cdf(-abs(difference) / error) if error else 1.0
    gap = change.mean(axis=0)
    return {
        "config": config,
        "variant": "adapter",
        "against": against,
        "task": task,
        "language": TASKS[task],
        "k": 1,
        "problems": PROBLEMS,
        "seeds": list(range(seeds)),
        "difference": difference,
        "low": difference - 1.96 * error,
        "high": difference + 1.96 * error,
        "per_seed": [float(row) for row in change.mean(axis=1)],
        "standard_error": error,
        "p_value": p_value,
        "p_corrected": p_value,
        "method": "t over seeds and problems",
        "family": kind if kind == "primary" else f"{kind} against {against}: adapter {task}",
        "detectable": 3.1 * error,
        "gained": [f"{task}/{n}" for n in np.flatnonzero(gap > 0.5)],
        "lost": [f"{task}/{n}" for n in np.flatnonzero(gap < -0.5)],
    }


def _standard_error(change: np.ndarray[Any, Any]) -> float:
    """Plainly: of means over seeds and over problems, added. What a study really does is in `flexlora.studies`."""
    of_seeds, of_problems = (change.mean(axis=axis) for axis in (1, 0))
    return math.sqrt(of_seeds.var(ddof=1) / len(of_seeds) + of_problems.var(ddof=1) / len(of_problems))


def _curve(arm: str, solved: dict[tuple[str, str], Any]) -> Curve:
    configs = [name for name in SKILLS if name.split()[0] == arm]
    points = [_point(name, "adapter", 1.0, solved) for name in configs]
    points += [_point(name, "adapter@0.5", 0.6, solved) for name in configs]
    places = [(point["gain"], point["retention"]) for point in points]
    area = front_area(places, REFERENCE)
    seeds = list(range(FEW))
    curve: Curve = {
        "arm": arm,
        "seeds": seeds,
        "points": points,
        "front": front_of(places, REFERENCE),
        "area": area,
        "low": 0.8 * area,
        "high": 1.2 * area,
    }
    if arm != "none":
        curve["difference"] = {
            "against": "none",
            "seeds": seeds,
            "difference": 0.01,
            "low": -0.02,
            "high": 0.04,
            "p_value": 0.42,
            "p_corrected": 0.84,
        }
    return curve


def _point(name: str, variant: str, strength: float, solved: dict[tuple[str, str], Any]) -> Point:
    def change(task: str) -> float:
        return strength * float(solved[name, task].mean() - solved["base", task].mean())

    gain, retention = change("tiny/B1/py"), change("tiny/A/java") * strength
    return {
        "config": name,
        "variant": variant,
        "gain": gain,
        "gain_low": gain - 0.06,
        "gain_high": gain + 0.06,
        "retention": retention,
        "retention_low": retention - 0.08,
        "retention_high": retention + 0.08,
    }


def over_two_bases(findings: Findings) -> Findings:
    """The findings with all scores and comparisons twice: over `base,model=a` and over `base,model=b`."""

    def called(name: str, model: str) -> str:
        return f"base,model={model}" if name == "base" else f"{name} model={model}"

    return {
        **findings,
        "configurations": [
            {**one, "name": called(one["name"], model), "point": {**one["point"], "model": model}}
            for model in "ab"
            for one in findings["configurations"]
        ],
        "keys": {**findings["keys"], "model": "model"},
        "models": ["a", "b"],
        "scores": [{**one, "config": called(one["config"], model)} for model in "ab" for one in findings["scores"]],
        "comparisons": [
            {**one, "config": called(one["config"], model), "against": called(one["against"], model)}
            for model in "ab"
            for one in findings["comparisons"]
        ],
    }


def named(findings: Findings, names: Sequence[str]) -> Findings:
    """The findings with these configurations only."""
    kept = [one for one in findings["configurations"] if one["name"] in names]
    return {**findings, "configurations": kept}


if __name__ == "__main__":  # look at the page: python tests/report/fake_study.py FOLDER
    import sys

    from flexlora.report.exports import write_exports
    from flexlora.report.study_page import write_study_report
    from flexlora.report.study_terminal import print_findings

    target = Path(sys.argv[1])
    made = make_study(target)
    print_findings(made)
    print(write_study_report(target, made))
    print(*write_exports(target, made), sep="\n")
