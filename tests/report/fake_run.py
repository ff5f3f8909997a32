"""A run directory as `flexlora run` leaves it, without a model: two arms, two tasks, flips and hostile strings."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from flexlora.evaluation import Entry, Summary, score_run
from flexlora.files import append_jsonl, write_json

HOSTILE = (
    "</script><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "<!--<script>",
    "{{ 7*7 }} [bold]markup[/bold] \u2028 \x00 \x1b[31m",
    "lone surrogate \ud800",
)
TASKS = {"humaneval": ("py", 164), "multipl-e/humaneval/java": ("java", 158)}
SIDES: tuple[tuple[str | None, str, float], ...] = (
    (None, "base", 0.33),
    (None, "baseline", 0.38),
    ("plain", "adapter", 0.35),
    ("plain", "merged", 0.35),
    ("fourier", "adapter", 0.43),
    ("fourier", "merged", 0.43),
)
FAILURES = ("Exception", "Exception", "Exception", "SyntaxError", "Timeout", "OutOfMemory")
MODEL = "codellama/CodeLlama-7b-hf"


def make_run(
    run: Path,
    *,
    samples: int = 1,
    ks: tuple[int, ...] = (1,),
    problems: int | None = None,
) -> tuple[Summary, dict[tuple[str, str], str]]:
    """Write the run's files and `summary.json`; give the summary and the prompts."""
    entries = []
    prompts: dict[tuple[str, str], str] = {}
    for arm, variant, rate in SIDES:
        for task, (language, size) in TASKS.items():
            size = problems or size
            folder = f"{arm or variant}/eval/{variant}/{task.replace('/', '--')}"
            keys = []
            for number in range(size):
                task_id = _task_id(task, number)
                prompts[task, task_id] = f'def solve_{number}(values: list[int]) -> int:\n    """Return {number}."""\n'
                for sample in range(samples):
                    keys.append((task_id, sample))
                    _write_sample(run / folder, task, language, number, sample, variant, rate)
            entries.append(
                Entry(
                    arm=arm,
                    variant=variant,
                    model=f"{MODEL.replace('7b', '7b-Python')}" if variant == "baseline" else MODEL,
                    task=task,
                    language=language,
                    path=folder,
                    expected=frozenset(keys),
                )
            )
    _write_logs(run)
    _write_spectra(run)
    provenance = {"dataset": {"mbpp": "4bb6404"}, "seed": 0, "note": HOSTILE[0], "broken": HOSTILE[-1]}
    summary = score_run(run, entries, ks, name="demo <b>run</b>", provenance=provenance)
    write_json(run / "summary.json", {**summary, "provenance": {}})
    return summary, prompts


def _task_id(task: str, number: int) -> str:
    return f"HumanEval/{number}" if task == "humaneval" else f"HumanEval_{number}_closest_pair"


def _write_sample(folder: Path, task: str, language: str, number: int, sample: int, variant: str, rate: float) -> None:
    # A problem has its own difficulty, the same for all variants, so that results correlate as real ones do.
    difficulty = random.Random(f"{task}/{number}/{sample}").random()
    passed = difficulty < rate + random.Random(f"{rate}/{number}").uniform(-0.06, 0.06)
    dice = random.Random(f"{number}/{sample}/{variant}")
    status = "OK" if passed else dice.choice(FAILURES)
    hostile = HOSTILE[number] if number < len(HOSTILE) else ""
    key = {"task_id": _task_id(task, number), "sample": sample}
    lines = "".join(f"    total += values[{i}] * {dice.randint(1, 99)}\n" for i in range(dice.randint(1, 9)))
    append_jsonl(
        folder / "samples.jsonl",
        {
            **key,
            "completion": f"    total = 0  # {hostile}\n{lines}    return total\n",
            "prompt_style": "verbatim",
            "finish_reason": "stop",
            "seed": 0,
        },
    )
    trace = (
        "" if passed else f"Traceback (most recent call last):\n  File 'main.py', line {number}\n{status}: {hostile}\n"
    )
    append_jsonl(
        folder / "results.jsonl",
        {
            **key,
            "language": language,
            "status": status,
            "passed": passed,
            "exit_code": 0 if passed else 1,
            "stdout": hostile,
            "stderr": trace,
            "wall_s": dice.uniform(0.1, 2),
            "cpu_s": 0.1,
            "cached": False,
            "program_sha256": "0" * 64,
        },
    )


def _write_logs(run: Path) -> None:
    for arm, penalty, pace in (("plain", 0.0, 1.0), ("fourier", 3.1, 1.25)):
        noise = random.Random(arm)
        for step in range(10, 1001, 10):
            record: dict[str, Any] = {
                "step": step,
                "loss": 0.7 + 0.8 * math.exp(-step / 250) + noise.uniform(-0.05, 0.05),
                "grad_norm": math.nan if step == 500 else noise.uniform(0.3, 0.9),
                "learning_rate": 1e-4 * (1 - step / 1001),
                "high_frequency_share": 0.5 - (0.2 * step / 1000 if penalty else 0.0),
            }
            measured = {"train_s": pace * step, "peak_memory_gb": 14.25}
            if penalty:
                record["penalty"] = penalty * math.exp(-step / 400)
                record["clipped_fraction"] = 0.1 + 0.4 * math.exp(-step / 300)
            append_jsonl(run / arm / "train" / "log.jsonl", record | measured)
            if step % 100 == 0:
                loss = 0.85 + 60 / (step + 100) + (0.0 if penalty else 0.05)
                append_jsonl(run / arm / "train" / "log.jsonl", {"step": step, "eval_loss": loss} | measured)
    (run / "unlogged" / "train").mkdir(parents=True)
    (run / "unlogged" / "train" / "log.jsonl").touch()


def _write_spectra(run: Path) -> None:
    """`plain` stays as white as it began; `fourier` loses its high half. B is zero before the first step."""
    for arm, rate in (("plain", 0.0), ("fourier", 3.0)):
        for step in range(0, 1001, 50):
            high = math.exp(-rate * step / 1000)
            bands = {
                factor: [scale * (1 if i < 8 else high) * (1 + 0.1 * math.sin(i + step)) for i in range(16)]
                for factor, scale in (("A", 2.0), ("B", step / 500))
            }
            energy = {factor: sum(values) for factor, values in bands.items()}
            total = {factor: energy[factor] or 1 for factor in bands}
            share = {factor: sum(values[8:]) / total[factor] for factor, values in bands.items()}
            centroid = {
                factor: sum((i + 0.5) / 16 * band for i, band in enumerate(values)) / total[factor]
                if energy[factor]
                else None
                for factor, values in bands.items()
            }
            record = {"step": step, "view": "factors", "tau": 0.5, "energy": energy, "bands": bands}
            record |= {"noise": {factor: [1 / 16] * 16 for factor in bands}, "share": share, "centroid": centroid}
            record |= {key: dict.fromkeys(bands, 0.5) for key in ("noise_share", "noise_centroid")}
            append_jsonl(run / arm / "train" / "spectrum.jsonl", record)


if __name__ == "__main__":  # look at the page: python tests/report/fake_run.py FOLDER
    import sys

    from flexlora.report import print_summary, write_report

    target = Path(sys.argv[1])
    made, texts = make_run(target, samples=int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print_summary(made)
    print(json.dumps(str(write_report(target, made, texts))))
