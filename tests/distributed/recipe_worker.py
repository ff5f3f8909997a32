"""One of two processes that run commands of FLeX one after the other; started by torchrun.

    torchrun --nproc_per_node 2 recipe_worker.py JOBS.json

A job has `arguments` of the command line, an `environment`, and the step after which it kills itself, `killed_after`.
Each runs in a fork of this process, which has imported everything and computed nothing, with a process group of its
own. What the models of job N were trained in is written to `seen.N.RANK.jsonl` beside the jobs.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, fully_shard  # noqa: F401  # imported before the forks
from torch.distributed.tensor import Shard

from flexlora import pipeline  # noqa: F401  # imported before the forks
from flexlora.cli import main
from flexlora.training import sharing, stage

PATIENCE_S = 200


def watch(seen: Path, killed_after: int | None) -> None:
    """Look at what is trained, and die after a step."""
    begins, ends = sharing.RightEngine.on_train_begin, stage.LogLastStep.on_step_end

    def on_train_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        begins(self, args, state, control, **kwargs)
        model = self.trainer.model_wrapped
        parts = [int(p.placements == (Shard(0),)) and p.device_mesh.size() for p in model.parameters()]
        with seen.open("a") as file:
            wrapped = [isinstance(module, FSDPModule) for module in (model, *model.get_base_model().model.layers)]
            print(json.dumps({"wrapped": all(wrapped), "parts": sorted(set(parts))}), file=file)

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ends(self, args, state, control, **kwargs)
        if state.global_step == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    sharing.RightEngine.on_train_begin = on_train_begin  # type: ignore[method-assign]  # watched
    stage.LogLastStep.on_step_end = on_step_end  # type: ignore[method-assign]  # watched


def run(number: int, job: dict[str, Any], folder: Path) -> None:
    """In a process of its own, which has to end as it is told."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(PATIENCE_S)  # should the other process have failed
            os.environ.update(job["environment"])
            if number:  # the launcher's store knows where the first job's processes were
                dist.init_process_group(
                    "gloo",
                    init_method=f"file://{folder}/store.{number}",
                    rank=int(os.environ["RANK"]),
                    world_size=int(os.environ["WORLD_SIZE"]),
                )
            watch(folder / f"seen.{number}.{os.environ['RANK']}.jsonl", job["killed_after"])
            sys.argv = ["flexlora", *job["arguments"]]
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != (-signal.SIGKILL if job["killed_after"] else 0):
        raise SystemExit(f"job {number} ended with {status}")


if __name__ == "__main__":
    jobs = Path(sys.argv[1])
    gc.freeze()  # a collection in a fork would copy all that was imported
    for number, job in enumerate(json.loads(jobs.read_text())):
        run(number, job, jobs.parent)
