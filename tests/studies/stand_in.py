"""Stands in for `flexlora run`: makes what a run directory has when it is finished, and fails, waits or dies if told.

What it is told stands in a folder beside this call's recipe: `orders/CELL` holds `fail`, `wait` or `die`.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml


def main() -> None:
    file, output = Path(sys.argv[2]), Path(sys.argv[4])
    recipe = yaml.load(file.read_text(), yaml.CSafeLoader)
    if "--dry-run" in sys.argv:
        if "nowhere" in str(recipe["arms"]):
            print("a warning\nflexlora: data: nowhere is missing", file=sys.stderr)
            sys.exit(2)
        counted = {"optimizer_steps": 4, "petaflops": 0.1, "validation_examples": 0}
        tasks = {"tasks": {"tiny/A/py": 2}, "completions": 6, "programs": {"py": 6}}
        plan = {"arms": [{"arm": arm, **counted} for arm in recipe["arms"]], **tasks}
        print(json.dumps(plan | {"parameters": 1000, "model": recipe["model"]}))
        return
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (output / "recipe.yaml").write_text(file.read_text())
        with (output / "begun").open("a") as begun:
            begun.write(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        order = file.parent.parent.parent / "orders" / output.name
        told = order.read_text() if order.exists() else ""
        if told == "fail":
            print("some progress\nflexlora: the loss is nan\nLower the rate.", file=sys.stderr)
            sys.exit(1)
        if told == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while order.exists() and order.read_text() == "wait":
            time.sleep(0.02)
        (output / "summary.json").write_text("{}")
        (output / "report.html").write_text("done")


main()
