"""Programs per second: warm and fresh starts against the plain cold commands, each in the same sandbox.

    python benchmarks/execution.py DATA [--languages java,ts,cpp,py] [--limit 60] [--workers 2]

DATA is a folder with `labelled/*-LANG.jsonl` (whole programs with published verdicts) and `humaneval.jsonl`, whose
canonical solutions are the Python programs. The modes take turns in one process, with the same workers; programs on
which either times out are left out of both sides. The cache is off. Also printed: verdicts that differ between modes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from flexlora.execution import Mode, Program, Verdict, execute, require


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--languages", default="java,ts,cpp,py")
    parser.add_argument("--limit", type=int, default=None, help="programs of each language")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print("| language | mode | programs | programs/s | of cold | verdicts unlike cold |\n|---|---|---|---|---|---|")
    for language in arguments.languages.split(","):
        require({language})
        programs = load(arguments.data, language)[: arguments.limit]
        modes = [Mode.COLD, Mode.WARM] + ([Mode.FRESH] if language == "py" else [])
        compare(language, programs, modes, arguments.workers)


def load(data: Path, language: str) -> list[Program]:
    if language == "py":
        records = [json.loads(line) for line in (data / "humaneval.jsonl").open()]
        return [
            Program(
                r["task_id"], 0, "py", f"{r['prompt']}{r['canonical_solution']}\n{r['test']}\ncheck({r['entry_point']})"
            )
            for r in records
        ]
    (path,) = (data / "labelled").glob(f"*-{language}.jsonl")
    return [Program(r["task_id"], 0, language, r["program"]) for r in map(json.loads, path.open())]


def compare(language: str, programs: list[Program], modes: list[Mode], workers: int) -> None:
    # Who times out is found first, cold, and left out; a warm pass before the clock builds what is built once.
    first = {mode: verdicts(programs, mode, workers) for mode in modes}
    late = {task_id for found in first.values() for task_id, v in found.items() if v.status == "Timeout"}
    programs = [program for program in programs if program.task_id not in late]
    rates = {}
    for mode in modes:
        started = time.perf_counter()
        found = verdicts(programs, mode, workers)
        rates[mode] = len(programs) / (time.perf_counter() - started)
        unlike = [task_id for task_id, v in found.items() if v.status != first[Mode.COLD][task_id].status]
        row = (
            language,
            mode,
            len(programs),
            f"{rates[mode]:.2f}",
            f"{rates[mode] / rates[Mode.COLD]:.1f}",
            unlike or 0,
        )
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def verdicts(programs: list[Program], mode: Mode, workers: int) -> dict[str, Verdict]:
    return {verdict.task_id: verdict for verdict in execute(programs, workers=workers, mode=mode, cache=False)}


if __name__ == "__main__":
    main()
