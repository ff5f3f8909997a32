"""`SophiaG`: Sophia with the Gauss-Newton-Bartlett estimate of curvature, as a `torch.optim.Optimizer`.

    optimizer = SophiaG(model.parameters(), lr=1e-4)
    curvature = GaussNewtonBartlett(optimizer, interval=10)
    for batch in batches:
        curvature.update(model, batch)      # every 10th call estimates, the first one included
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

The rule (Sophia, arXiv 2305.14342, algorithm 3; paper.txt equation 2), for every value w with gradient g:

    h <- beta_2 h + (1 - beta_2) N g'^2         every k steps, g' the gradient on labels sampled from the model
    w <- w (1 - lr weight_decay)
    m <- beta_1 m + (1 - beta_1) g
    w <- w - lr clip(m / max(rho h, eps), 1)

`rho` is the paper's gamma; the clipped value is at most 1, so no weight moves by more than `lr` a step. Learning rates
are therefore not AdamW's: see docs/optimizers.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch.optim.optimizer import Optimizer, ParamsT

from flexlora.optim.batches import batches, local
from flexlora.optim.moves import OFFICIAL_EPSILON, by_official_code, by_paper, threshold

Reference = Literal["paper", "official"]


class SophiaG(Optimizer):
    """Sophia-G with decoupled weight decay (arXiv 2305.14342; paper.txt equation 2).

    The state of a parameter is `exp_avg` (m) and `hessian` (h), as much memory as AdamW's. Parameters in half precision
    have theirs in float32; the update is worked out in float32 and rounded once.

    Args:
        params: parameters, or groups of them that may differ in any option.
        lr: learning rate, a number or a tensor of one; the most that a weight moves in a step, apart from weight decay.
        betas: decay rates of m, per step, and of h, per estimate.
        rho: how much of a step curvature must allow before it is clipped; larger clips less. The share of clipped
            values is in `statistics`.
        weight_decay: decoupled.
        eps: the least denominator.
        bias_correction: divide h by 1 - beta_2^n after n estimates. The paper does not: its h starts at 0 and reaches
            its size only after some 1 / (1 - beta_2) estimates (1000 steps at the defaults), up to which a short
            training clips nearly everything.
        reference: `paper`, or `official`, which follows the authors' code step for step: h starts at 0 and no estimate
            is needed before the first step, it averages g'^2 without N, which multiplies in the step instead, and the
            denominator is rho N h + 1e-15.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.04,
        weight_decay: float = 0.1,
        *,
        eps: float = 1e-12,
        bias_correction: bool = False,
        reference: Reference = "paper",
    ) -> None:
        options: dict[str, Any] = {"lr": lr, "betas": betas, "rho": rho, "weight_decay": weight_decay, "eps": eps}
        options |= {"bias_correction": bias_correction, "reference": reference}
        # How many estimates h has, and the batch size of the last: kept with the group, so that they are saved with it.
        super().__init__(params, options | {"estimates": 0, "batch_size": 1})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; it needs an estimate of its own before it is stepped.

        Raises:
            ValueError: an option is out of range, or a parameter is complex.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        problems = [
            f"{name} {group[name]}: it must be {what}"
            for name, fits, what in (
                ("lr", group["lr"] >= 0, "at least 0"),
                ("betas", all(0 <= beta < 1 for beta in group["betas"]), "two numbers in [0, 1)"),
                ("rho", group["rho"] > 0, "above 0"),
                ("weight_decay", group["weight_decay"] >= 0, "at least 0"),
                ("eps", group["eps"] > 0, "above 0"),
                ("reference", group["reference"] in get_args(Reference), " or ".join(get_args(Reference))),
                (
                    "bias_correction",
                    not (group["bias_correction"] and group["reference"] == "official"),
                    "False with reference official",
                ),
            )
            if not fits
        ]
        problems += [
            f"a parameter of {p.dtype}: only real numbers" for p in group["params"] if not p.is_floating_point()
        ]
        if problems:
            self.param_groups.pop()
            raise ValueError("SophiaG: " + "; ".join(problems))

    @torch.no_grad()
    def update_hessian(self, batch_size: int) -> None:
        """Take a new estimate into h, from the gradients that a backward on sampled labels has left in `.grad`.

        `GaussNewtonBartlett` does everything up to and with this call. Parameters without a gradient keep their h.
        These gradients are not to be clipped, as the official training script does: h would measure the clipping.

        Args:
            batch_size: N, how many labels were sampled, over all ranks and micro-batches; the gradients are those of
                the mean over them.

        Raises:
            ValueError: N is not at least 1.
            RuntimeError: no parameter has a gradient, or one is sparse.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}: it is the number of sampled labels, at least 1")
        if not any(p.grad is not None for group in self.param_groups for p in group["params"]):
            raise RuntimeError("no parameter has a gradient; call update_hessian after a backward on sampled labels")
        for group, parameters in self._with_gradient():
            beta = group["betas"][1]
            factor = (1 - beta) * (1 if group["reference"] == "official" else batch_size)
            for h, g in batches((self._state(p)["hessian"], p.grad) for p in parameters):
                gradients = _as(g, h[0].dtype)
                torch._foreach_mul_(h, beta)
                torch._foreach_addcmul_(h, gradients, gradients, value=factor)
            if parameters:
                group["estimates"] += 1
                group["batch_size"] = int(batch_size)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it
        """One step; parameters without a gradient are left alone.

        Raises:
            RuntimeError: there is no estimate of the curvature yet, or a gradient is sparse; nothing has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        members = self._with_gradient()
        if any(parameters and _lacks_estimate(group) for group, parameters in members):
            raise RuntimeError(
                "SophiaG has no estimate of the curvature yet; before the first step call "
                "GaussNewtonBartlett(optimizer).update(model, batch), or update_hessian(batch_size) after a "
                "backward on sampled labels"
            )
        for group, parameters in members:
            move = by_official_code(group) if group["reference"] == "official" else by_paper(group)
            states = ((p, self._state(p)) for p in parameters)
            for p, g, m, h in batches((p, p.grad, state["exp_avg"], state["hessian"]) for p, state in states):
                weights = _as(p, m[0].dtype)
                move(weights, _as(g, m[0].dtype), m, h)
                if weights is not p:
                    torch._foreach_copy_(p, weights)
        return loss

    def _with_gradient(self) -> list[tuple[dict[str, Any], list[Any]]]:
        """Every group, and its parameters that have a gradient.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        members = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        if any(p.grad.is_sparse for _, parameters in members for p in parameters):
            raise RuntimeError("SophiaG takes no sparse gradients; use Embedding(sparse=False)")
        return members

    def _state(self, p: torch.Tensor) -> dict[str, Any]:
        """Of a parameter; made where there is none."""
        state: dict[str, Any] = self.state[p]
        if not state:
            for name in ("exp_avg", "hessian"):
                state[name] = torch.zeros_like(p, dtype=_state_dtype(p), memory_format=torch.preserve_format)
        return state

    @torch.no_grad()
    def statistics(self) -> dict[str, float]:
        """Figures for a log, of all parameters together, read back from the device; every rank calls it.

        Returns:
            `clipped_fraction`: share of the values that the last step clipped (between an estimate and the next step:
            those that it would have clipped with the new h). `h_mean`, `h_max` and `h_zero_fraction` of h, as it is
            stored; with reference `official` multiplied by N. Empty before the first estimate or step.
        """
        sums: dict[Any, list[torch.Tensor]] = defaultdict(list)
        for group in self.param_groups:
            official = group["reference"] == "official"
            times = float(group["batch_size"] if official else 1)
            for p in group["params"]:
                if not self.state.get(p):
                    continue
                m, h = local(self.state[p]["exp_avg"]).abs(), local(self.state[p]["hessian"])
                least = h * (group["rho"] * times) + OFFICIAL_EPSILON if official else None
                least = (h * threshold(group)).clamp_min_(group["eps"]) if least is None else least
                top = h.max() * times if h.numel() else h.new_zeros(())
                size = torch.full_like(top, h.numel(), dtype=torch.float64)
                figures = [(m > least).sum(), (h == 0).sum(), size, h.sum() * times, top]
                sums[_shards(p)].append(torch.stack([figure.double() for figure in figures]))
        if not sums:
            return {}
        totals = torch.stack([_over_ranks(_on_cpu(found), shards) for shards, found in sums.items()])
        clipped, zero, count, total, _ = totals.sum(0).tolist()
        return {
            "clipped_fraction": clipped / count,
            "h_mean": total / count,
            "h_max": totals[:, -1].max().item(),
            "h_zero_fraction": zero / count,
        }

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from `state_dict`, exactly: the state keeps its dtype, also where parameters have half precision.

        Raises:
            ValueError: the groups are others, or the state is of the other reference, whose h means something else.
        """
        for group, other in zip(self.param_groups, state_dict["param_groups"], strict=False):
            if group["reference"] != other.get("reference"):
                raise ValueError(
                    f"the state is of reference {other.get('reference')!r}, and this optimizer's is "
                    f"{group['reference']!r}; their h mean different things"
                )
        super().load_state_dict(state_dict)
        # The base class rounds the state to the parameter's dtype.
        saved = (number for group in state_dict["param_groups"] for number in group["params"])
        for number, p in zip(saved, (p for group in self.param_groups for p in group["params"]), strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                self.state[p][name] = value.to(device=p.device, dtype=_state_dtype(p))


def _lacks_estimate(group: dict[str, Any]) -> bool:
    """Whether a step of it would move weights without one. With learning rate 0 it moves none: by such a step torch's
    distributed checkpoints make room for the state that they load."""
    return not group["estimates"] and group["reference"] != "official" and float(group["lr"]) != 0


def _state_dtype(p: torch.Tensor) -> torch.dtype:
    return torch.promote_types(p.dtype, torch.float32)


def _as(tensors: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The list itself where it has the dtype."""
    return tensors if tensors[0].dtype == dtype else [tensor.to(dtype) for tensor in tensors]


def _on_cpu(rows: list[torch.Tensor]) -> torch.Tensor:
    """Rows that may lie on several devices, in one copy for each."""
    by_device: dict[torch.device, list[torch.Tensor]] = defaultdict(list)
    for row in rows:
        by_device[row.device].append(row)
    return torch.cat([torch.stack(found).cpu() for found in by_device.values()])


def _shards(p: torch.Tensor) -> Any:
    """What says over which ranks the values of a parameter are spread; None where this one has all."""
    return (p.device_mesh, p.placements) if hasattr(p, "device_mesh") and hasattr(p, "placements") else None


def _over_ranks(figures: torch.Tensor, shards: Any) -> torch.Tensor:
    """(parameters, 5) figures as one row: sums, and the largest of the last, over parameters and over shards."""
    row = torch.cat([figures[:, :-1].sum(0), figures[:, -1:].max(0).values])
    if shards is None:
        return row
    import torch.distributed as dist

    mesh, placements = shards
    device = torch.device(mesh.device_type)
    sums, top = row[:-1].to(device), row[-1:].to(device)
    for dimension, placement in enumerate(placements):
        if placement.is_shard():
            dist.all_reduce(sums, group=mesh.get_group(dimension))
            dist.all_reduce(top, op=dist.ReduceOp.MAX, group=mesh.get_group(dimension))
    return torch.cat([sums, top]).cpu()


def parameters_of(optimizer: Optimizer) -> Iterable[torch.Tensor]:
    """All parameters of an optimizer."""
    return (p for group in optimizer.param_groups for p in group["params"])
