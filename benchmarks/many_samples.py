"""Time and peak memory of executing a file of samples of which 60 % are duplicates.

    python benchmarks/many_samples.py [2000 20000]

For each number of samples a process of its own: Python programs of 2 kB over 200 problems, cache off, so each distinct
program runs once. Memory should hardly grow with the number.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flexlora.evaluation.sample_files import execute_file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("samples", type=int, nargs="*", default=[2000, 20000])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.samples[0])
        return
    print("| samples | seconds | peak memory, MiB |\n|---|---|---|", flush=True)
    for samples in arguments.samples:
        subprocess.run([sys.executable, __file__, "--one", str(samples)], check=True, stderr=subprocess.DEVNULL)


def measure(samples: int) -> None:
    distinct = samples * 4 // 10
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "samples.jsonl")
        with path.open("w") as file:
            for i in range(samples):
                program = f"x = {i % distinct}\nassert x >= 0\n" + "# padding\n" * 200
                file.write(json.dumps({"task_id": f"problem/{i % 200}", "language": "py", "program": program}) + "\n")
        started = time.perf_counter()
        summary = execute_file(path, cache=False)
        seconds = time.perf_counter() - started
    assert summary["passed"] == samples
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {samples} | {seconds:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
