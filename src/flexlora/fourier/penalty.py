"""`FourierPenalty`: the penalty on a model's LoRA adapter, usable in any training loop.

    penalty = FourierPenalty(model, lam=0.02)
    loss.backward()
    penalty.add_gradient()      # once per optimizer step, after the last backward, before clipping
    optimizer.step()

or, decoupled from the loss as AdamW's weight decay is,

    penalty = FourierPenalty(model, lam=0.02, coupling="decoupled")
    loss.backward()
    optimizer.step()
    penalty.decay(learning_rate / peak_learning_rate)

Lambda is not comparable across views: `delta` is quartic in the factors, carries the scaling squared, and at
tau = 0.5 penalises 75 % of the directions where the others penalise 50 %. Nor across couplings.

Works on plain parameters, under DDP, `torch.compile`, and on DTensors (FSDP2, tensor parallelism), where every rank
must call it. FSDP1 and DeepSpeed are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from flexlora.fourier.controls import Control
from flexlora.fourier.factors import Flatten, Scope, View, factor_name, find_pairs, make_groups, penalised_factors
from flexlora.fourier.groups import Measure
from flexlora.fourier.parameters import whole
from flexlora.fourier.schedule import Schedule, ScheduleName
from flexlora.fourier.weighting import Shape, Weighting

if TYPE_CHECKING:
    from flexlora.adapters.pairs import LoraPair

Coupling = Literal["loss", "decoupled"]
Reference = Literal["zero", "init"]


class FourierPenalty:
    """Penalises the high frequencies of a model's LoRA adapter (paper.txt 3.3, equations 3 to 7; 8.3 for `delta`).

    Args:
        model: a model with LoRA layers; the factors of its active adapters that are trained. Build the penalty after
            everything that replaces parameters (wrapping, casting, sharding), or call `bind` then.
        lam: strength lambda, at least 0; with 0 nothing is touched and the penalty only measures.
        view: what is transformed. `factors`: each factor, flattened. `rows`: each row of A and each column of B.
            `delta`: the merged update s B A, in two dimensions (of each adapter by itself; of DoRA, without the
            magnitudes).
        weighting: `step`, `ramp`, `sigmoid` or `uniform`, see `flexlora.fourier.weighting`.
        tau: threshold as a share of the Nyquist frequency, in [0, 1].
        order: exponent of `ramp`.
        width: width of `sigmoid`.
        floor: weight where the weighting is 0.
        gain: weight where it is 1.
        flatten: for `factors`, whether vec(B) runs fastest over the rank index (`row`, which is what flattening
            says in the paper: neighbours in rank, which have no natural order) or over the outputs (`column`).
        reference: what the factors are penalised for departing from: `zero` (the paper), or `init`, their values
            now. Those go into `state_dict`.
        coupling: `loss` (the paper, equation 7): `add_gradient`. `decoupled`: `decay`, after the optimizer's step.
        schedule: of lambda, see `flexlora.fourier.schedule`.
        warmup_steps: for the schedules `linear` and `cosine`.
        total_steps: for `cosine`; may be set later (`penalty.schedule.total_steps`).
        target: for the schedule `target`, the share of energy above tau to hold.
        rate: for the schedule `target`, how fast lambda follows.
        scope: which factors get the gradient: `A`, `B` or `both`.
        modules: only LoRA layers of these names (matched as the end of the full name, e.g. `["down_proj"]`); None
            is all.
        control: `none`, or a penalty to compare with, see `flexlora.fourier.controls`.

    Raises:
        ValueError: an option is out of range or means nothing here, the model has no trainable LoRA factors, or a
            kind of LoRA, FSDP or DeepSpeed that the penalty is not defined for.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        lam: float,
        view: View = "factors",
        weighting: Shape = "step",
        tau: float = 0.5,
        order: float = 1.0,
        width: float = 0.05,
        floor: float = 0.0,
        gain: float = 1.0,
        flatten: Flatten = "row",
        reference: Reference = "zero",
        coupling: Coupling = "loss",
        schedule: ScheduleName = "constant",
        warmup_steps: int = 0,
        total_steps: int | None = None,
        target: float | None = None,
        rate: float = 0.1,
        scope: Scope = "both",
        modules: Sequence[str] | None = None,
        control: Control = "none",
    ) -> None:
        for name, value, known in (
            ("view", view, View),
            ("flatten", flatten, Flatten),
            ("reference", reference, Reference),
            ("coupling", coupling, Coupling),
            ("schedule", schedule, ScheduleName),
            ("scope", scope, Scope),
            ("control", control, Control),
        ):
            if value not in get_args(known):
                raise ValueError(f"{name} {value!r} is not known; there is {', '.join(get_args(known))}")
        if isinstance(modules, str):
            modules = (modules,)
        if modules is not None and not modules:
            raise ValueError("modules is empty; name LoRA layers, or None for all")
        if flatten != "row" and view != "factors":
            raise ValueError(f"flatten {flatten!r} is for view 'factors'; view {view!r} flattens nothing")
        if control != "none" and weighting == "uniform":
            raise ValueError(f"control {control!r} means nothing with weighting 'uniform', which knows no frequency")
        if control != "none" and schedule == "target":
            raise ValueError(
                f"schedule 'target' holds the share above tau, which control {control!r} does not act on; give the "
                "control the lam that the penalty itself arrived at"
            )
        self._weights = Weighting(shape=weighting, tau=tau, order=order, width=width, floor=floor, gain=gain)
        # A decoupled step multiplies what is penalised by 1 - 2 lam g, in the views that are linear.
        most = 1 / gain if coupling == "decoupled" and view != "delta" and gain else math.inf
        self.schedule = Schedule(
            schedule,
            lam=lam,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
            target=target,
            rate=rate,
            most=most / 2,
        )
        if lam >= most:
            raise ValueError(
                f"lam {lam} with gain {gain} diverges with coupling 'decoupled', whose steps multiply by 1 - 2 lam "
                f"gain; lam must be less than {most:g}, and is usually far less"
            )
        self.view, self.coupling, self.tau, self.flatten = view, coupling, tau, flatten
        self._reference, self._scope, self._modules, self._control = reference, scope, modules, control
        self._options = {
            "view": view,
            "weighting": [weighting, tau, order, width, floor, gain],
            "flatten": flatten,
            "reference": reference,
            "coupling": coupling,
            "schedule": [schedule, lam, warmup_steps, target, rate],
            "scope": scope,
            "modules": None if modules is None else list(modules),
            "control": control,
        }
        self.applied: float | None = None
        """Lambda at the last step; None before the first."""
        self._references: dict[str, torch.Tensor] = {}
        self.start(model)

    @property
    def lam(self) -> float:
        """Lambda at the next step."""
        return self.schedule.strength

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The factors that are penalised."""
        return [factor for pair in self._bound for _, factor in penalised_factors(pair, self._scope)]

    def start(self, model: torch.nn.Module) -> None:
        """Begin a training of this model: the schedule's first step, and, for reference `init`, its values now.

        Raises:
            ValueError: as for the class.
        """
        self.schedule.restart()
        self.applied = None
        self._references = {}
        if self._reference == "init":
            for pair in self._pairs(model):
                for side, factor in (("A", pair.A), ("B", pair.B)):
                    self._references[factor_name(pair, side)] = whole(factor).float().clone()
        self.bind(model)

    def bind(self, model: torch.nn.Module) -> None:
        """Collect the factors anew, after something has replaced the model's parameters.

        Raises:
            ValueError: as for the class; or a factor is not among those that the references were taken of.
        """
        pairs = self._pairs(model)
        self._check_references(pairs, self._references)
        self._bound = pairs
        self._groups = make_groups(
            pairs,
            view=self.view,
            flatten=self.flatten,
            scope=self._scope,
            weights=self._weights,
            control=self._control,
            references=self._references,
        )

    def _pairs(self, model: torch.nn.Module) -> list[LoraPair]:
        return find_pairs(
            model, view=self.view, scope=self._scope, modules=self._modules, decoupled=self.coupling == "decoupled"
        )

    def _check_references(self, pairs: Sequence[LoraPair], references: Mapping[str, torch.Tensor]) -> None:
        wanted = {factor_name(pair, side) for pair in pairs for side in ("A", "B")}
        if self._reference == "init" and (unknown := wanted - references.keys()):
            raise ValueError(
                f"reference 'init': there is no initial value of {min(unknown)}; call start() for a training of this "
                "model"
            )

    @torch.no_grad()
    def add_gradient(self, scale: float = 1.0) -> torch.Tensor:
        """Add lambda dR/dw to the gradient of every factor; call once per optimizer step, before clipping.

        Args:
            scale: the loss scale in force under fp16 (`GradScaler.get_scale()`), since the task's gradients carry
                it too; 1 once they are unscaled.

        Returns:
            R before the step, a scalar.

        Raises:
            RuntimeError: the coupling is `decoupled`, or the model's factors have been replaced.
        """
        if self.coupling != "loss":
            raise RuntimeError("coupling 'decoupled' adds no gradient; call decay() after the optimizer's step")
        return self._act(scale, to_values=False)

    @torch.no_grad()
    def decay(self, ratio: float = 1.0) -> torch.Tensor:
        """Decoupled: w <- w - lambda * ratio * dR/dw; call after each optimizer step.

        Do not call it after a step that the gradient scaler skipped.

        Args:
            ratio: the learning rate of the step over its peak, lr_t / lr_max, so that the penalty follows the
                learning rate's schedule.

        Returns:
            R after the optimizer's step and before this, a scalar.

        Raises:
            RuntimeError: the coupling is `loss`, or the model's factors have been replaced.
        """
        if self.coupling != "decoupled":
            raise RuntimeError("coupling 'loss' acts through add_gradient(), before clipping and the optimizer's step")
        return self._act(-ratio, to_values=True)

    def _act(self, scale: float, to_values: bool) -> torch.Tensor:
        for pair in self._bound:
            if not pair.is_current():
                raise RuntimeError(
                    f"{pair.module}: the factors of adapter {pair.adapter!r} are no longer those that the penalty was "
                    "built for (replaced, sharded, or deactivated since); call bind(model) after that"
                )
        self.applied = self.lam
        share = self._share() if self.schedule.name == "target" else None
        value = _total(group.add(self.applied * scale, to_values) for group in self._groups)
        self.schedule.advance(share)
        return value

    def _share(self) -> float | None:
        """The share of energy above tau, read back from the device; None where there is no energy."""
        measure = self.measure()
        return measure.high_frequency_share.item() if measure.energy > 0 else None

    @torch.no_grad()
    def measure(self) -> Measure:
        """The penalty, the energy and its part above tau, of the factors as they are; changes nothing.

        With reference `init` all are of the departure from it.
        """
        values, energies, highs = zip(*(group.measure() for group in self._groups), strict=True)
        return Measure(_total(values), _total(energies), _total(highs))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: the schedule's state and the references; and the options, to be compared."""
        return {
            "options": self._options,
            "schedule": self.schedule.state_dict(),
            "references": dict(self._references),
        }

    def load_state_dict(self, state: dict[str, Any], model: torch.nn.Module) -> None:
        """Continue from `state_dict` with a model whose factors have been restored.

        Raises:
            ValueError: the state is of a penalty with other options, or of another model; nothing is changed.
        """
        for name, mine in self._options.items():
            if state["options"].get(name) != mine:
                raise ValueError(
                    f"the state is of a penalty with {name} {state['options'].get(name)!r}, and this one has {mine!r}; "
                    "continue with the same, or start a new training from the adapter"
                )
        self._check_references(self._pairs(model), state["references"])
        self.schedule.load_state_dict(state["schedule"])
        self._references = dict(state["references"])
        self.bind(model)


def _total(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of scalars that may lie on several devices, on the first one."""
    scalars = list(values)
    return torch.stack([value.to(scalars[0].device) for value in scalars]).sum()
