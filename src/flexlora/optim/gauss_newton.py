"""The Gauss-Newton-Bartlett estimate of the curvature (Sophia, arXiv 2305.14342, section 2.3).

With labels sampled from the model's own distribution, N times the squared gradient of the mean loss over N labels is an
unbiased estimate of the diagonal of the Gauss-Newton matrix of that loss. So every k steps the model runs on a batch
without its labels, labels are sampled at the supervised positions only, and their gradient goes to
`SophiaG.update_hessian`. Training does not notice: its gradients are put back, and all randomness (labels, dropout in
this pass) comes from a generator of the estimate's own, which is saved with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from flexlora.optim.batches import local
from flexlora.optim.sophia import SophiaG, parameters_of

IGNORED = -100
ROWS = 1024
"""Positions whose labels are sampled at once: sampling needs two copies of their logits in float32."""


class GaussNewtonBartlett:
    """Estimates the curvature for `SophiaG` every `interval` steps, on the batches that training sees.

    Args:
        optimizer: a `SophiaG`, or what Accelerate made of one.
        interval: k, optimizer steps from one estimate to the next.
        seed: of the generator that draws labels, and dropout in the estimation pass.
        shift: whether logits predict the next position's label, as in a causal language model; False where they stand
            at the label's own position.
        group: the ranks that share a step's data; None is all of them.

    On several ranks (DDP, FSDP2) every one calls it; N and the gradients are over all of them, and the labels are those
    that one process would draw for their batches one after the other.

    Raises:
        ValueError: the interval is not at least 1, or the optimizer is none of ours.
    """

    def __init__(
        self,
        optimizer: Any,
        interval: int = 10,
        *,
        seed: int = 0,
        shift: bool = True,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        inner = optimizer if isinstance(optimizer, SophiaG) else getattr(optimizer, "optimizer", None)
        if not isinstance(inner, SophiaG):
            raise ValueError(f"optimizer {type(optimizer).__name__}: the estimate is for SophiaG")
        if interval < 1:
            raise ValueError(f"interval {interval}: it is a number of steps, at least 1")
        self.optimizer, self.interval, self.shift, self._group = inner, interval, shift, group
        self._generator = torch.Generator().manual_seed(seed)
        self._steps_left = 0

    def update(self, model: torch.nn.Module, *batches: Mapping[str, Any], scale: float = 1.0) -> bool:
        """Call once per optimizer step, before the step: estimates on every `interval`-th call, the first included.

        Args:
            model: called as `model(**batch)` without the labels; returns logits (batch, length, vocabulary), alone, in
                a tuple, or as `.logits`. It is used in the mode it is in.
            batches: the micro-batches of the step, each with `labels` (batch, length), -100 where there is no loss. For
                models with a cache, put `use_cache=False` in.
            scale: the loss scale in force under fp16 (`GradScaler.get_scale()`); lowered where it overflows.

        Returns:
            Whether it estimated. Where no label is supervised it does not, and tries again at the next call.

        Raises:
            ValueError: a batch has no labels, or logits do not match them.
            FloatingPointError: a gradient is not finite.
        """
        estimated = self._steps_left <= 0 and self._estimate(model, batches, scale)
        self._steps_left = self.interval - 1 if estimated else self._steps_left - 1
        return estimated

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the optimizer's state; the same on all ranks."""
        return {"steps_left": self._steps_left, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`, with the same labels as without the interruption."""
        self._steps_left = int(state["steps_left"])
        self._generator.set_state(state["generator"].cpu())

    def _estimate(self, model: torch.nn.Module, batches: Sequence[Mapping[str, Any]], scale: float) -> bool:
        masks = [self._supervised(batch) for batch in batches]
        parameters = [
            p for p in dict.fromkeys([*model.parameters(), *parameters_of(self.optimizer)]) if p.requires_grad
        ]
        counts, rank = self._counts(sum(int(mask.sum()) for mask in masks), parameters[0].device)
        total = sum(counts)
        if not total:
            return False
        # Every rank draws for all, and takes its own: the labels do not depend on how many ranks there are.
        uniform = torch.split(torch.rand(total, generator=self._generator), counts)[rank]
        seed = int(torch.randint(2**62, (), generator=self._generator)) + rank
        kept = [p.grad for p in parameters]
        try:
            while True:
                for p in parameters:
                    p.grad = None
                with _randomness(seed):
                    self._backward(model, batches, masks, uniform, scale / total)
                self._sum_over_ranks(parameters)
                if self._finite(parameters):
                    break
                if scale <= 1:
                    raise FloatingPointError(
                        "the gradient on sampled labels is not finite, so the curvature cannot be estimated: logits "
                        "have overflowed, or training has diverged; lower the learning rate or use bfloat16"
                    )
                scale = max(scale / 16, 1.0)
            for p in parameters:
                if p.grad is not None and scale != 1:
                    p.grad.div_(scale)
            self.optimizer.update_hessian(total)
        finally:
            for p, gradient in zip(parameters, kept, strict=True):
                p.grad = gradient
        return True

    def _supervised(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """(batch, predicting positions) whether there is a loss."""
        labels = batch.get("labels")
        if labels is None:
            raise ValueError(
                f"a batch without labels (it has {', '.join(batch)}): they say where there is a loss, and so where "
                "labels are sampled"
            )
        mask: torch.Tensor = (labels[:, 1:] if self.shift else labels) != IGNORED
        return mask

    def _backward(
        self,
        model: torch.nn.Module,
        batches: Sequence[Mapping[str, Any]],
        masks: Sequence[torch.Tensor],
        uniform: torch.Tensor,
        factor: float,
    ) -> None:
        """Leave `factor` times the gradient of the summed loss on sampled labels."""
        if _is_fsdp2(model):
            factor *= dist.get_world_size(self._group)  # it takes the mean over ranks, and this is a sum
        shares = torch.split(uniform, [int(mask.sum()) for mask in masks])
        with _without_averaging(model):
            for batch, mask, share in zip(batches, masks, shares, strict=True):
                logits = _logits(model(**{name: value for name, value in batch.items() if name != "labels"}))
                predicting = logits[:, :-1] if self.shift else logits
                if predicting.shape[:2] != mask.shape:
                    raise ValueError(
                        f"logits {tuple(logits.shape)} do not match labels {tuple(batch['labels'].shape)}: there must "
                        "be logits for every position"
                    )
                chosen = predicting[mask.to(logits.device)].float()
                sampled = sample_labels(chosen.detach(), share.to(logits.device))
                loss = torch.nn.functional.cross_entropy(chosen, sampled, reduction="sum")
                (loss * factor).backward()  # type: ignore[no-untyped-call]  # torch has no type for it

    def _counts(self, mine: int, device: torch.device) -> tuple[list[int], int]:
        """Supervised labels on every rank, and this rank's place among them."""
        if not self._distributed():
            return [mine], 0
        counts = torch.zeros(dist.get_world_size(self._group), dtype=torch.int64, device=device)
        rank = dist.get_rank(self._group)
        counts[rank] = mine
        dist.all_reduce(counts, group=self._group)
        return [int(count) for count in counts], rank

    def _sum_over_ranks(self, parameters: Sequence[torch.Tensor]) -> None:
        """Add up the gradients of all ranks; sharded ones (FSDP2) are summed by their backward."""
        plain = [p for p in parameters if not hasattr(p, "placements")]
        if not plain or not self._distributed():
            return
        # A rank whose batch left a parameter unused has no gradient of it, and must still take part.
        used = torch.tensor([p.grad is not None for p in plain], dtype=torch.int32, device=plain[0].device)
        dist.all_reduce(used, op=dist.ReduceOp.MAX, group=self._group)
        for p, somewhere in zip(plain, used.tolist(), strict=True):
            if somewhere:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                dist.all_reduce(p.grad, group=self._group)

    def _finite(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Whether all gradients are, on all ranks."""
        finite = torch.ones((), dtype=torch.int32, device=parameters[0].device)
        for p in parameters:
            if p.grad is not None:
                finite *= local(p.grad).isfinite().all().to(finite.device)
        if self._distributed():
            dist.all_reduce(finite, op=dist.ReduceOp.MIN, group=self._group)
        return bool(finite)

    def _distributed(self) -> bool:
        return dist.is_available() and dist.is_initialized() and dist.get_world_size(self._group) > 1


@torch.no_grad()
def sample_labels(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Labels from the softmax of logits, by inversion of its distribution function.

    Args:
        logits: (N, vocabulary).
        uniform: (N,) in [0, 1): one random number for each label, whatever the vocabulary and the device.

    Returns:
        (N,) labels, int64.
    """
    labels = []
    for part, share in zip(torch.split(logits, ROWS), torch.split(uniform, ROWS), strict=True):
        cumulative = part.float().softmax(-1).cumsum(-1)
        total = cumulative[:, -1:]
        # Rounded up to the total, a share would lie beyond the last label of any probability.
        wanted = torch.minimum(share[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
        labels.append(found.clamp_(max=logits.shape[1] - 1))  # for logits that are not numbers it is one beyond
    return torch.cat(labels) if labels else logits.new_zeros(0, dtype=torch.int64)


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """Seed the global generators, and leave them as they were."""
    accelerator = torch.accelerator.current_accelerator()
    devices = range(torch.accelerator.device_count()) if accelerator is not None else range(0)
    kind = "cuda" if accelerator is None else accelerator.type
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed)
        yield


def _logits(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    logits: torch.Tensor = output.logits if hasattr(output, "logits") else output[0]
    return logits


def _without_averaging(model: torch.nn.Module) -> AbstractContextManager[None]:
    """DDP averages over ranks as if they had equally many labels; here gradients are summed afterwards."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _is_fsdp2(model: torch.nn.Module) -> bool:
    if not dist.is_available() or not dist.is_initialized():
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)
