"""One of two processes that train together on loopback; started by torchrun, writes what it saw as JSON.

    torchrun --nproc_per_node 2 worker.py MODE OUTPUT OPTIONS_AS_JSON

MODE is `ddp` or `fsdp2`: a plain loop for each named set of options, whose gradients and weights are compared with
those of one process that sees the whole batch. Or `trainer`: `FourierMixin` on `transformers.Trainer`, whose weights
are written; `alone`, without torchrun, writes those of one process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from flexlora.adapters import lora_pairs
from flexlora.fourier import FourierPenalty
from flexlora.training import FourierMixin

STEPS, ACCUMULATION, LEARNING_RATE, CLIP = 3, 2, 1e-2, 0.5


def make_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    # Rank 3 on two processes: the shards of A are of unequal size.
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=3, target_modules=["q_proj", "down_proj"]))
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.B, std=0.3)
    return model


def batches(step: int) -> torch.Tensor:
    """(accumulation, 4, 12) tokens of an optimizer step; each process takes half of every batch."""
    return torch.randint(50, (ACCUMULATION, 4, 12), generator=torch.Generator().manual_seed(step))


def train(model: Any, engine: str, options: dict[str, Any], rows: slice) -> list[torch.Tensor]:
    """A plain loop; returns the gradients of the first step after clipping, whole, and the weights at the end."""
    wrapped = model
    if engine == "ddp":
        wrapped = DistributedDataParallel(model)
    elif engine == "fsdp2":
        for layer in model.base_model.model.model.layers:
            fully_shard(layer)
        wrapped = fully_shard(model)
    penalty = FourierPenalty(wrapped, **options)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    seen = []
    for step in range(STEPS):
        for number, ids in enumerate(batches(step)):
            last = number == ACCUMULATION - 1
            if engine == "fsdp2":
                wrapped.set_requires_gradient_sync(last)
            with wrapped.no_sync() if engine == "ddp" and not last else nullcontext():
                part = ids[rows]
                (wrapped(input_ids=part, labels=part).loss / ACCUMULATION).backward()
        if penalty.coupling == "loss":
            penalty.add_gradient()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        if step == 0:
            seen += [_whole(p.grad) for p in trained]
        optimizer.step()
        if penalty.coupling == "decoupled":
            penalty.decay(0.5)
        optimizer.zero_grad()
    _check_wrapper(wrapped, engine, trained)
    return seen + [_whole(p) for p in trained]


def _check_wrapper(wrapped: Any, engine: str, trained: list[torch.Tensor]) -> None:
    if engine == "ddp":
        assert type(wrapped) is DistributedDataParallel
    if engine == "fsdp2":
        assert isinstance(wrapped, FSDPModule)
        assert all(str(p.placements) == "(Shard(dim=0),)" for p in trained)  # type: ignore[attr-defined]


def _whole(tensor: Any) -> torch.Tensor:
    detached = tensor.detach()
    return (detached.full_tensor() if hasattr(detached, "full_tensor") else detached).clone()


class FourierTransformersTrainer(FourierMixin, Trainer):  # type: ignore[misc]
    """The mixin on the plain trainer."""


def train_by_trainer(model: Any, options: dict[str, Any], processes: int) -> list[torch.Tensor]:
    """Two processes of batch 2, or one of batch 4: the same examples a step."""
    rows = torch.cat([batches(step).reshape(-1, 12) for step in range(STEPS)])
    data = [{"input_ids": row, "labels": row} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=4 // processes,
            gradient_accumulation_steps=ACCUMULATION,
            learning_rate=LEARNING_RATE,
            max_grad_norm=CLIP,
            use_cpu=True,
            ddp_backend="gloo" if processes > 1 else None,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            train_sampling_strategy="sequential",
        )
        trainer = FourierTransformersTrainer(model=model, args=arguments, train_dataset=data, penalty=options)
        trainer.train()
    assert trainer.args.world_size == processes
    assert (type(trainer.model_wrapped) is DistributedDataParallel) == (processes > 1)
    return [_whole(p) for p in model.parameters() if p.requires_grad]


def main() -> None:
    mode, output, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    if mode == "alone":
        torch.save(train_by_trainer(make_model(), options, processes=1), output)
        return
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == 2
    if mode == "trainer":
        # As in a script without a seed: it is the trainer that gives all ranks the values of the first.
        found = train_by_trainer(make_model(seed=rank), options, processes=world)
        if rank == 0:
            torch.save(found, output)
        return
    seen = {}
    for name, of_penalty in options.items():
        expected = train(make_model(), "alone", of_penalty, slice(0, 4))
        found = train(make_model(), mode, of_penalty, slice(2 * rank, 2 * rank + 2))
        # Every process has the same weights.
        gathered: list[Any] = [None] * world
        dist.all_gather_object(gathered, [tensor.sum().item() for tensor in found])
        seen[name] = {
            "worst": max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True)),
            "scale": max(tensor.abs().max().item() for tensor in expected),
            "same": gathered[0] == gathered[1],
        }
    if rank == 0:
        output.write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
