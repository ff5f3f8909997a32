"""From a model to groups of factors: which LoRA factors are penalised, and which are transformed together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from flexlora.fourier.controls import Control
from flexlora.fourier.groups import Factor, Group, PairGroup, VectorGroup
from flexlora.fourier.weighting import Weighting

if TYPE_CHECKING:
    from flexlora.adapters.pairs import LoraPair

View = Literal["factors", "rows", "delta"]
Flatten = Literal["row", "column"]
Scope = Literal["both", "A", "B"]


def find_pairs(
    model: torch.nn.Module, *, view: View, scope: Scope, modules: Sequence[str] | None, decoupled: bool
) -> list[LoraPair]:
    """The pairs of a model's active adapters of which some factor in scope is trained.

    Raises:
        ValueError: there is none, a name in `modules` matches none, or a kind for which this is not defined.
    """
    from flexlora.adapters.pairs import choose, lora_pairs  # the mathematics does not need peft; this does

    there = list(lora_pairs(model))
    if not there:
        raise ValueError("the model has no LoRA factors; add an adapter first (flexlora.adapters.add_lora)")
    pairs = [pair for pair in there if penalised_factors(pair, scope)]
    if not pairs:
        which = "" if scope == "both" else f" in scope {scope!r}"
        raise ValueError(
            f"the model has {len(there)} pairs of LoRA factors and none is trainable{which}; is the adapter loaded for "
            "inference (is_trainable=True trains it), or another one active?"
        )
    if decoupled and (low := [pair for pair in pairs if pair.A.dtype.itemsize < 4]):
        raise ValueError(
            f"{low[0].module}: coupling 'decoupled' changes factors by less than {low[0].A.dtype} can hold; keep the "
            "adapter in float32 (PEFT does so by default, autocast_adapter_dtype)"
        )
    if view == "delta" and (stacked := [pair.module for pair in pairs if pair.experts > 1]):
        raise ValueError(
            f"{stacked[0]}: its factors hold several experts' updates side by side, for which view 'delta' is not "
            "defined; use 'factors' or 'rows'"
        )
    return pairs if modules is None else choose(pairs, modules)


def penalised_factors(pair: LoraPair, scope: Scope) -> list[tuple[str, torch.nn.Parameter]]:
    """Those of a pair that get the gradient, each with its side, `A` or `B`."""
    sides = (("A", pair.A), ("B", pair.B))
    return [(side, factor) for side, factor in sides if factor.requires_grad and scope in ("both", side)]


def factor_name(pair: LoraPair, side: str) -> str:
    """A factor's name, the same whatever wraps the model."""
    return f"{pair.module}.lora_{side}.{pair.adapter}"


def make_groups(
    pairs: Iterable[LoraPair],
    *,
    view: View,
    flatten: Flatten,
    scope: Scope,
    weights: Weighting,
    control: Control,
    references: Mapping[str, torch.Tensor],
) -> list[Group]:
    """The groups of equal shape, dtype and device; the options are those of `FourierPenalty`."""
    factors = [(pair, _factor(pair, "A", scope, references), _factor(pair, "B", scope, references)) for pair in pairs]
    if view == "delta":
        return list(_pair_groups(factors, weights, control))
    return list(_vector_groups(factors, view, flatten, weights, control))


def _factor(pair: LoraPair, side: str, scope: Scope, references: Mapping[str, torch.Tensor]) -> Factor:
    parameter = pair.A if side == "A" else pair.B
    name = factor_name(pair, side)
    reference = references[name].to(parameter.device) if name in references else None
    return Factor(name, parameter, reference, side in dict(penalised_factors(pair, scope)))


def _vector_groups(
    pairs: Sequence[tuple[LoraPair, Factor, Factor]],
    view: View,
    flatten: Flatten,
    weights: Weighting,
    control: Control,
) -> Iterator[VectorGroup]:
    grouped: dict[tuple[Any, ...], list[Factor]] = defaultdict(list)
    for _, *both in pairs:
        for factor, is_b in zip(both, (False, True), strict=True):
            if not factor.penalised:
                continue
            parameter = factor.parameter
            if view == "rows":  # along n for A, along m for B
                length, transposed = parameter.shape[0 if is_b else 1], is_b
            else:
                length, transposed = parameter.numel(), flatten == "column"
            grouped[length, transposed, parameter.shape, parameter.dtype, parameter.device].append(factor)
    for (length, transposed, *_), factors in grouped.items():
        yield VectorGroup(factors, transposed=transposed, length=length, weights=weights, control=control)


def _pair_groups(
    pairs: Sequence[tuple[LoraPair, Factor, Factor]], weights: Weighting, control: Control
) -> Iterator[PairGroup]:
    grouped: dict[tuple[Any, ...], list[tuple[LoraPair, Factor, Factor]]] = defaultdict(list)
    for pair, a, b in pairs:
        grouped[pair.A.shape, pair.B.shape, pair.A.dtype, pair.B.dtype, pair.A.device].append((pair, a, b))
    for alike in grouped.values():
        scalings = [pair.scaling for pair, _, _ in alike]
        yield PairGroup([(a, b) for _, a, b in alike], scalings, weights=weights, control=control)
