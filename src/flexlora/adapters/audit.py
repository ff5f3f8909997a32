"""What rounding does to a merged update: in the weights, and in what the model says.

With W the base weight as it is stored, W* the merged weight and D a dtype, M = round_D(W*) is what merging saves and
W_D = round_D(W) what the base itself is in that dtype. So the update is dW = W* - W, and what is left of it M - W_D.
Sums are taken in float64, one module after another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What became of an update, of one weight or of all of them together; shares and ratios, none in percent."""

    relative_error: float
    """norm((M - W_D) - dW) / norm(dW), Frobenius norms."""
    kept: float
    """<M - W_D, dW> / <dW, dW>: 1 if the update is there, though noise may lie over it; 0 if it is gone."""
    read_error: float | None
    """The relative error for inputs in the adapter's own directions, the rows of A; None where there are none."""
    unchanged: float
    """Share of the weights with dW != 0 that are as if nothing had been merged (M = W_D)."""
    low_rank_share: float | None
    """Share of the squared norm of W* - M that the best correction of the adapter's rank holds; None: not sought."""
    overflow: int
    """Weights too large for the dtype; with any, the other figures mean nothing."""
    update_rms: float
    """Root mean square of dW."""
    weights: int


@dataclass(slots=True, kw_only=True)
class UpdateSums:
    """The sums behind an `Update`; they add up over modules."""

    error: float = 0.0
    update: float = 0.0
    product: float = 0.0
    read_error: float = 0.0
    read_update: float = 0.0
    residual: float = 0.0
    captured: float = 0.0
    moved: int = 0
    unchanged: int = 0
    overflow: int = 0
    weights: int = 0

    def __add__(self, other: UpdateSums) -> UpdateSums:
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in _SUMS)
        return UpdateSums(**{name: mine + theirs for name, mine, theirs in pairs})

    def result(self) -> Update:
        """The figures; an update of zero has lost nothing."""
        return Update(
            relative_error=math.sqrt(_ratio(self.error, self.update)),
            kept=_ratio(self.product, self.update) if self.update else 1.0,
            read_error=math.sqrt(self.read_error / self.read_update) if self.read_update else None,
            unchanged=_ratio(self.unchanged, self.moved),
            low_rank_share=self.captured / self.residual if self.residual else None,
            overflow=self.overflow,
            update_rms=math.sqrt(_ratio(self.update, self.weights)),
            weights=self.weights,
        )


_SUMS = dataclasses.fields(UpdateSums)


def measure_update(before: Tensor, exact: Tensor, rounded: Tensor, reads: Tensor | None) -> UpdateSums:
    """Compare a rounded merged weight with the update that it should hold.

    Args:
        before: W, any shape, any dtype.
        exact: W*, the same shape, float64.
        rounded: M, the same shape, in dtype D.
        reads: A (r, n) of a weight (m, n); None leaves out `read_error`.
    """
    wanted = exact - before.double()
    overflow = int((~rounded.isfinite()).sum())
    if overflow:
        return UpdateSums(overflow=overflow, weights=exact.numel())
    held = rounded.double() - before.to(rounded.dtype).double()
    error = held - wanted
    moved = wanted != 0
    sums = UpdateSums(
        error=_square(error),
        update=_square(wanted),
        product=float((held * wanted).sum()),
        moved=int(moved.sum()),
        unchanged=int((moved & (held == 0)).sum()),
        weights=exact.numel(),
    )
    if reads is not None:
        basis = torch.linalg.qr(reads.double().T).Q  # (n, r)
        sums.read_error, sums.read_update = _square(error @ basis), _square(wanted @ basis)
    return sums


def low_rank_energy(residual: Tensor, rank: int) -> tuple[float, float]:
    """|R|^2 and how much of it the best matrix of a rank holds, by a randomised SVD (Halko et al. 2011, four rounds).

    That is what a second adapter of this rank, kept beside the merged weights, could mend.

    Args:
        residual: W* - M (m, n), float64.
        rank: r.
    """
    matrix = residual.float()
    generator = torch.Generator(matrix.device).manual_seed(0)
    sketch = torch.randn(matrix.shape[1], rank + 16, generator=generator, device=matrix.device)
    for _ in range(4):
        left = torch.linalg.qr(matrix @ sketch).Q  # (m, r + 16)
        sketch = matrix.T @ left
    values = torch.linalg.svdvals(sketch)[:rank].double()
    return _square(residual), float(values.square().sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """How one model's next-token distributions differ from another's, on the same tokens."""

    positions: int
    kl: float
    """Mean Kullback-Leibler divergence KL(reference || other), in nats."""
    logit_rms: float
    """Root mean square difference of logits."""
    logit_max: float
    """Largest difference of a logit."""
    next_token: float
    """Share of positions whose most likely next token differs."""
    answers: float
    """Share of prompts whose greedy answer differs from the reference's."""


class DisagreementSums:
    """Adds up disagreement over prompts."""

    def __init__(self) -> None:
        self.positions = self.logits = self.tokens = self.prompts = self.answers = 0
        self.kl = self.squares = self.largest = 0.0

    def add(self, reference: Tensor, other: Tensor, prompt_tokens: int) -> None:
        """One prompt with the reference's greedy answer behind it.

        The other model would give the same answer exactly if, fed with it, it ranks each of its tokens first too.

        Args:
            reference: logits (t, vocabulary).
            other: the same of the other model.
            prompt_tokens: how many of the t tokens are the prompt; the rest is the answer.
        """
        difference = (other - reference).double()
        log_p, log_q = (logits.double().log_softmax(-1) for logits in (reference, other))
        # Logits of minus infinity (tokens that a model rules out) have p = 0, and 0 * inf is no number.
        terms = torch.where(log_p.isfinite(), log_p.exp() * (log_p - log_q), 0.0)
        changed = reference.argmax(-1) != other.argmax(-1)
        self.kl += float(terms.sum())
        self.squares += _square(difference.nan_to_num())
        self.largest = max(self.largest, float(difference.nan_to_num().abs().max()))
        self.tokens += int(changed.sum())
        self.answers += bool(changed[prompt_tokens - 1 : -1].any())
        self.positions += reference.shape[0]
        self.logits += reference.numel()
        self.prompts += 1

    def result(self) -> Disagreement:
        """The means over all positions."""
        return Disagreement(
            positions=self.positions,
            kl=_ratio(self.kl, self.positions),
            logit_rms=math.sqrt(_ratio(self.squares, self.logits)),
            logit_max=self.largest,
            next_token=_ratio(self.tokens, self.positions),
            answers=_ratio(self.answers, self.prompts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to save the merged model, measured."""

    dtype: str
    rounding: str
    update: Update
    """Of all merged weights together."""
    disagreement: Disagreement | None
    """Against the unmerged model (base as stored, adapter on top), both computing in float32; None where weights
    overflow. Only the merged weights are rounded: what the rest of the base loses in a dtype is not the merge's."""
    modules: dict[str, Update]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeAudit:
    """What merging costs in every dtype, and which way was taken."""

    adapter: dict[str, Any]
    base: dict[str, Any]
    stored_dtype: str
    """Of the base's weights in their files."""
    dtype: str
    rounding: str
    adapter_effect: Disagreement
    """Of the base against the unmerged model: what the adapter itself does, to measure losses by."""
    rows: tuple[Row, ...]
    warn_above: float
    warning: str | None
    notes: tuple[str, ...]
    output: str | None

    @property
    def chosen(self) -> Row:
        """The row of the dtype and rounding that the output has."""
        return self.row(self.dtype, self.rounding)

    def row(self, dtype: str, rounding: str = "nearest") -> Row:
        """The row of a dtype and rounding."""
        return next(row for row in self.rows if (row.dtype, row.rounding) == (dtype, rounding))

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return dataclasses.asdict(self)


def total(sums: Iterable[UpdateSums]) -> UpdateSums:
    """The sums of all modules together."""
    return sum(sums, start=UpdateSums())


def _square(tensor: Tensor) -> float:
    return float(tensor.double().square().sum())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
