"""One of two processes that train with Sophia-G under FSDP2, save, and go on from what fresh objects load.

    torchrun --nproc_per_node 2 sophia_checkpoint_worker.py OUTPUT

Once for each way of a checkpoint: torch's `sharded` (files of torch.distributed.checkpoint), `full` and `flat`, and
`accelerate`, whose functions a Trainer calls. Weights, m, h, options of the groups and the figures for the log are
compared with those of a training that was not interrupted; it writes what differs.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils import load_fsdp_optimizer, save_fsdp_optimizer
from sophia_worker import batch, make_model
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard

from flexlora.optim import GaussNewtonBartlett, SophiaG

SAVED, STEPS, INTERVAL = 4, 8, 3


class Training:
    """Model, optimizer and estimator; with some steps done."""

    def __init__(self, seed: int) -> None:
        self.model = make_model()
        torch.manual_seed(seed)
        for p in self.model.parameters():
            torch.nn.init.normal_(p, std=0.1)
        for layer in self.model.model.layers:
            fully_shard(layer)
        fully_shard(self.model)
        named = list(self.model.named_parameters())
        groups = [
            {"params": [p for name, p in named if "norm" not in name]},
            {"params": [p for name, p in named if "norm" in name], "weight_decay": 0.0},
        ]
        self.optimizer = SophiaG(groups, lr=1e-2, rho=5.0, betas=(0.9, 0.5), bias_correction=True)
        self.curvature = GaussNewtonBartlett(self.optimizer, INTERVAL, seed=seed)

    def train(self, steps: range) -> None:
        rank = dist.get_rank()
        for step in steps:
            part = {name: value[2 * rank : 2 * rank + 2] for name, value in batch(step).items()} | {"use_cache": False}
            self.curvature.update(self.model, part)
            self.model(**part).loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def seen(self) -> dict[str, Any]:
        state = self.optimizer.state
        found: dict[str, Any] = {}
        for name, p in self.model.named_parameters():
            found[name] = p.detach().to_local().clone()
            found |= {f"{name} {key}": value.to_local().clone() for key, value in state[p].items()}
        for number, group in enumerate(self.optimizer.param_groups):
            found |= {f"{number} {key}": value for key, value in group.items() if key != "params"}
            found[f"{number} betas"] = list(group["betas"])  # a full state dict makes a list of the pair
        return found | self.optimizer.statistics()


def save_and_load(saved: Training, fresh: Training, way: str, folder: Path) -> None:
    """The optimizer's state from one into the other."""
    if way == "accelerate":
        plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="SHARDED_STATE_DICT")
        accelerator = Accelerator(cpu=True)
        ours, theirs = (accelerator.prepare_optimizer(training.optimizer) for training in (saved, fresh))
        save_fsdp_optimizer(plugin, accelerator, ours, saved.model, str(folder))
        load_fsdp_optimizer(plugin, accelerator, theirs, fresh.model, str(folder))
        return
    options = StateDictOptions(full_state_dict=way == "full", flatten_optimizer_state_dict=way == "flat")
    state: Any = get_optimizer_state_dict(saved.model, saved.optimizer, options=options)
    if way == "sharded":
        dcp.save(state, checkpoint_id=folder)
        state = get_optimizer_state_dict(fresh.model, fresh.optimizer, options=options)
        dcp.load(state, checkpoint_id=folder)
    set_optimizer_state_dict(fresh.model, fresh.optimizer, copy.deepcopy(state), options=options)


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [key for key in b if not (torch.equal(a[key], b[key]) if torch.is_tensor(b[key]) else a[key] == b[key])]


def main() -> None:
    output = Path(sys.argv[1])
    dist.init_process_group("gloo")
    assert dist.get_world_size() == 2
    whole, first = Training(seed=1), Training(seed=1)
    whole.train(range(STEPS))
    first.train(range(SAVED))
    before, end = first.seen(), whole.seen()
    report: dict[str, Any] = {"estimates": end["0 estimates"], "clipped": end["clipped_fraction"]}
    for way in ("sharded", "full", "flat", "accelerate"):
        folder = output.parent / way
        folder.mkdir(exist_ok=True)
        again = Training(seed=2)
        save_and_load(first, again, way, folder)
        set_model_state_dict(again.model, get_model_state_dict(first.model))
        again.curvature.load_state_dict(first.curvature.state_dict())
        loaded = differing(again.seen(), before)
        again.train(range(SAVED, STEPS))
        report[way] = [None, None]
        dist.all_gather_object(report[way], [loaded, differing(again.seen(), end)])
    if dist.get_rank() == 0:
        output.write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
