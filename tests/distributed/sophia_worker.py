"""One of two processes that estimate and train with Sophia-G on loopback; started by torchrun, writes what it saw.

    torchrun --nproc_per_node 2 sophia_worker.py MODE OUTPUT

MODE is `ddp`; `fsdp2`, with `hsdp` on a mesh of two dimensions, `partial` where one layer alone is sharded, `sums`
where FSDP2 was told not to average; or `plain` (gradients averaged by the loop itself): curvature, weights and the
figures for the log are compared with those of one process that sees the whole batch. The batches of the two have
unequal numbers of supervised tokens. Or `trainer`: `SophiaMixin` on `transformers.Trainer`, under DDP, with
accumulation, whose curvature and weights are written; `alone`, without torchrun, writes those of one process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.training import SophiaMixin

STEPS, INTERVAL = 5, 2


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


def batch(step: int) -> dict[str, torch.Tensor]:
    """Four rows of 12 tokens; each process takes two, and the first has far fewer supervised tokens."""
    ids = torch.randint(50, (4, 12), generator=torch.Generator().manual_seed(step))
    labels = ids.clone()
    labels[0, :9] = -100
    labels[1, :7] = -100
    labels[2, :2] = -100
    return {"input_ids": ids, "labels": labels}


def whole(tensor: Any) -> torch.Tensor:
    detached = tensor.detach()
    return (detached.full_tensor() if hasattr(detached, "full_tensor") else detached).clone()


def train(model: Any, mode: str, rows: slice) -> tuple[list[torch.Tensor], list[torch.Tensor], dict[str, float]]:
    """Curvature, weights and figures at the end."""
    wrapped = model
    if mode == "ddp":
        wrapped = DistributedDataParallel(model)
    elif mode in ("fsdp2", "hsdp", "sums"):
        mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicate", "shard")) if mode == "hsdp" else None
        for module in (*model.model.layers, model):
            fully_shard(module, mesh=mesh)
            if mode == "sums":
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        assert isinstance(wrapped, FSDPModule)
    elif mode == "partial":
        fully_shard(model.model.layers[0])
    trained = list(model.parameters())
    assert sum(hasattr(p, "placements") for p in trained) == {"partial": 9, "alone": 0, "ddp": 0, "plain": 0}.get(
        mode, len(trained)
    )
    averages = mode not in ("alone", "plain", "sums")
    optimizer = SophiaG(trained, lr=1e-2, rho=0.5, betas=(0.9, 0.5))
    # Alone, a process must not reach out to the other.
    group = dist.new_subgroups(1)[0] if mode == "alone" else None
    curvature = GaussNewtonBartlett(optimizer, INTERVAL, seed=3, group=group)
    for step in range(STEPS):
        full = batch(step)
        part = {name: value[rows] for name, value in full.items()}
        curvature.update(wrapped, {**part, "use_cache": False})
        # The task's gradient is that of the mean over all supervised tokens, as trainers take it.
        supervised = int((full["labels"][:, 1:] != -100).sum())
        logits = wrapped(input_ids=part["input_ids"]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), part["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum"
        )
        (loss / supervised * (dist.get_world_size() if averages else 1)).backward()
        if mode in ("plain", "partial"):
            for p in trained:
                if not hasattr(p, "placements"):
                    dist.all_reduce(p.grad)
                    p.grad.div_(dist.get_world_size() if averages else 1)
        optimizer.step()
        optimizer.zero_grad()
    return (
        [whole(optimizer.state[p]["hessian"]) for p in trained],
        [whole(p) for p in trained],
        optimizer.statistics(),
    )


class SophiaTrainer(SophiaMixin, Trainer):  # type: ignore[misc]  # transformers has no types
    """The mixin on the plain trainer."""


def train_by_trainer(processes: int) -> list[torch.Tensor]:
    """Two processes of two micro-batches of one row, or one of two of two: the same rows a step. h and the weights."""
    rows = []
    for step in range(STEPS):
        full = batch(step)
        # The trainer deals rows out in turns, and labels are drawn for one process after the other.
        order = (0, 2, 1, 3) if processes == 1 else (0, 1, 2, 3)
        rows += [{name: value[row] for name, value in full.items()} for row in order]
    model = make_model()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SophiaTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=STEPS,
                per_device_train_batch_size=2 // processes,
                gradient_accumulation_steps=2,
                learning_rate=1e-2,
                max_grad_norm=1e9,
                use_cpu=True,
                ddp_backend="gloo" if processes > 1 else None,
                report_to=[],
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                dataloader_pin_memory=False,
                train_sampling_strategy="sequential",
            ),
            train_dataset=rows,
            sophia={"rho": 0.5, "betas": (0.9, 0.5), "interval": INTERVAL},
        )
        trainer.train()
    assert trainer.args.world_size == processes
    assert (type(trainer.model_wrapped) is DistributedDataParallel) == (processes > 1)
    assert trainer.curvature is not None
    state = trainer.curvature.optimizer.state
    return [whole(state[p]["hessian"]) for p in model.parameters()] + [whole(p) for p in model.parameters()]


def main() -> None:
    mode, output = sys.argv[1], Path(sys.argv[2])
    if mode == "alone":
        torch.save(train_by_trainer(1), output)
        return
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == 2
    if mode == "trainer":
        found = train_by_trainer(world)
        gathered = [None] * world
        dist.all_gather_object(gathered, [tensor.sum().item() for tensor in found])
        assert gathered[0] == gathered[1]
        if rank == 0:
            torch.save(found, output)
        dist.destroy_process_group()
        return
    expected = train(make_model(), "alone", slice(0, 4))
    found = train(make_model(), mode, slice(2 * rank, 2 * rank + 2))
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, [[tensor.sum().item() for tensor in found[1]], found[2]])
    seen = {
        "same": gathered[0] == gathered[1],
        "statistics": [expected[2], found[2]],
        "h": [max((a - b).abs().max().item() for a, b in zip(found[0], expected[0], strict=True))],
        "weights": [max((a - b).abs().max().item() for a, b in zip(found[1], expected[1], strict=True))],
    }
    seen["h"].append(max(h.max().item() for h in expected[0]))
    start = [p.detach() for p in make_model().parameters()]
    seen["weights"].append(max((a - b).abs().max().item() for a, b in zip(start, expected[1], strict=True)))
    if rank == 0:
        output.write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
