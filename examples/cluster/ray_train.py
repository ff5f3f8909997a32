"""A run on a Ray cluster that is there already: every worker of Ray Train is a process of the run.

    python ray_train.py RECIPE RUN WORKERS [--cpu]

RUN lies on a file system that all nodes see. Needs `pip install 'ray[train]' 'flexlora[ray]'`.
"""

import sys
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer


def worker(config: dict[str, Any]) -> None:
    """One process of the run; Ray Train has told it its rank, and which GPU is its own."""
    import flexlora

    flexlora.run(config["recipe"], output=config["run"])


if __name__ == "__main__":
    recipe, run, workers = sys.argv[1:4]
    on_gpu = "--cpu" not in sys.argv
    ray.init(address="auto")
    TorchTrainer(
        worker,
        train_loop_config={"recipe": recipe, "run": run},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo", timeout_s=172_800),
        scaling_config=ScalingConfig(num_workers=int(workers), use_gpu=on_gpu),
        run_config=RunConfig(name="flexlora"),
    ).fit()
