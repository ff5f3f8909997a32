"""The Gauss-Newton-Bartlett estimate of the curvature (Sophia, arXiv 2305.14342, section 2.3).

With labels sampled from the model's own distribution, N times the squared gradient of the mean loss over N labels is an
unbiased estimate of the diagonal of the Gauss-Newton matrix of that loss. So every k steps the model runs on a batch
without its labels, labels are sampled at the supervised positions only, and their gradient goes to
`SophiaG.update_hessian`. Training does not notice: its gradients are put back, and all randomness (labels, dropout in
this pass) comes from a generator of the estimate's own, which is saved with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from flexlora.optim.ranks import all_finite, over_ranks, sum_over_ranks, without_averaging
from flexlora.optim.sampled import backward_on_samples, predicting
from flexlora.optim.sophia import SophiaG, parameters_of


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
        self._groups = 0  # of the optimizer, at the last estimate

    def update(self, model: torch.nn.Module, *batches: Mapping[str, Any], scale: float = 1.0) -> bool:
        """Call once per optimizer step, before the step: estimates on every `interval`-th call, the first included, and
        where a group of parameters has been added.

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
        groups = len(self.optimizer.param_groups)
        estimated = (self._steps_left <= 0 or groups != self._groups) and self._estimate(model, batches, scale)
        if estimated:
            self._groups = groups
        self._steps_left = self.interval - 1 if estimated else self._steps_left - 1
        return estimated

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the optimizer's state; the same on all ranks."""
        return {"steps_left": self._steps_left, "groups": self._groups, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`, with the same labels as without the interruption."""
        self._steps_left, self._groups = int(state["steps_left"]), int(state["groups"])
        self._generator.set_state(state["generator"].cpu())

    def _estimate(self, model: torch.nn.Module, batches: Sequence[Mapping[str, Any]], scale: float) -> bool:
        masks = [predicting(batch, self.shift) for batch in batches]
        parameters = [
            p for p in dict.fromkeys([*model.parameters(), *parameters_of(self.optimizer)]) if p.requires_grad
        ]
        mine = [int(mask.sum()) for mask in masks]
        counts, rank = over_ranks(sum(mine), parameters[0].device, self._group)
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
                with _randomness(seed), without_averaging(model):
                    for batch, mask, share in zip(batches, masks, torch.split(uniform, mine), strict=True):
                        backward_on_samples(model, batch, mask, share, scale / total)
                sum_over_ranks(model, parameters, self._group)
                if all_finite(parameters, self._group):
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


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """Seed the global generators, and leave them as they were."""
    accelerator = torch.accelerator.current_accelerator()
    devices = range(torch.accelerator.device_count()) if accelerator is not None else range(0)
    kind = "cuda" if accelerator is None else accelerator.type
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed)
        yield
