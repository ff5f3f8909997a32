"""Teacher-forced log-likelihood of texts, each after its prompt, in batches.

Texts are sorted by length, the longest first, so that a batch that does not fit in memory fails at once. Rows are
padded on the right, where a causal model does not look, so that nothing needs to be masked and what is scored of a row
does not depend on the others (but for rounding). Logits are made from the first scored position of a batch on, and
turned into float32 piecewise; a batch is read back from the device once.

The scored tokens are those of the text: not its prompt, and no end-of-sequence token after it, as training on any
completions teaches that one. Text and prompt are tokenised together, as in training; where tokens merge across the
boundary, scoring begins at the first token that has a character of the text.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flexlora.data.types import Text
from flexlora.errors import FlexError, UsageError
from flexlora.models import context_length, encode_prompt

LARGEST = 1 << 28
"""Logits of a batch at most, unless it has a single row: 1 GiB in float32."""
PIECE = 1 << 24
"""Logits that are float32 at once: 64 MiB, and as much again for their exponentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model makes of one text."""

    task_id: str
    tokens: int
    """That were scored; 0 where the prompt alone fills the length allowed."""
    characters: int
    """That those tokens stand for."""
    nll: float
    """Sum of their negative log-likelihoods, in nats."""
    cut: bool
    """Whether the text was longer than allowed, so that its end was not scored."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A tokenised text: `ids[start:]` are scored."""

    task_id: str
    ids: list[int]
    start: int
    characters: int
    cut: bool


@torch.inference_mode()
def measure(
    model: Any,
    tokenizer: Any,
    texts: Sequence[Text],
    *,
    conditional: bool = True,
    max_length: int = 1024,
    batch_tokens: int = 16384,
    done: Collection[str] = (),
) -> Iterator[Measured]:
    """Yield the log-likelihood of every text but those in `done`, a batch at a time.

    Args:
        conditional: read each text after its prompt; if not, after nothing but the token that begins a document.
        max_length: of prompt and text together in tokens, if the model's context is not shorter; text beyond it is
            not scored.
        batch_tokens: read at once, padding included.
        done: `task_id` of texts that an earlier call has yielded. The batches are those of that call.

    Raises:
        FlexError: out of GPU memory, or the model's output is not a number.
    """
    model.eval()
    context = context_length(model)
    longest = max_length if context is None else min(max_length, context)
    rows = [_row(tokenizer, text, conditional, longest) for text in texts]
    for row in rows:
        if row.start >= len(row.ids) and row.task_id not in done:
            yield Measured(task_id=row.task_id, tokens=0, characters=0, nll=0.0, cut=True)
    scored = sorted((row for row in rows if row.start < len(row.ids)), key=lambda row: -len(row.ids))
    forward = _Forward(model)
    for batch in _batches(scored, min(batch_tokens, LARGEST // forward.vocabulary)):
        if all(row.task_id in done for row in batch):
            continue
        try:
            sums = forward(batch, tokenizer.pad_token_id)
        except torch.cuda.OutOfMemoryError as error:
            raise FlexError(
                f"out of GPU memory with {len(batch)} texts of up to {len(batch[0].ids)} tokens at once; run the "
                f"recipe again with --set likelihood.batch_tokens={max(1, batch_tokens // 2)} (what is measured is "
                "kept), or a shorter likelihood.max_length."
            ) from error
        for row, nll in zip(batch, sums, strict=True):
            if nll != nll or nll == float("inf"):
                raise FlexError(
                    f"{row.task_id}: the model's output is not a number. Was its training stable? In float16 a model "
                    "may overflow: try --set precision=bfloat16 or float32."
                )
            if row.task_id not in done:
                yield Measured(
                    task_id=row.task_id,
                    tokens=len(row.ids) - row.start,
                    characters=row.characters,
                    nll=nll,
                    cut=row.cut,
                )


def _row(tokenizer: Any, text: Text, conditional: bool, longest: int) -> _Row:
    prompt = text.prompt if conditional else ""
    before, ids = encode_prompt(tokenizer, prompt), encode_prompt(tokenizer, prompt + text.completion)
    start = 0
    while start < min(len(before), len(ids)) and before[start] == ids[start]:
        start += 1
    if start == 0:  # nothing would predict the first token
        begins = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        ids, start = [begins, *ids], 1
    if start == len(ids):
        raise UsageError(f"{text.task_id}: its text adds no token to its prompt, so there is nothing to score.")
    if len(ids) <= longest:
        return _Row(text.task_id, ids, start, len(text.completion), cut=False)
    beyond = len(tokenizer.decode(ids[max(longest, start) :], clean_up_tokenization_spaces=False))
    return _Row(text.task_id, ids[:longest], start, max(1, len(text.completion) - beyond), cut=True)


def _batches(rows: Sequence[_Row], tokens: int) -> Iterator[Sequence[_Row]]:
    """Rows that are at most so many tokens when padded to their first, which is the longest; a row at least."""
    start = 0
    while start < len(rows):
        size = max(1, tokens // len(rows[start].ids))
        yield rows[start : start + size]
        start += size


class _Forward:
    """Negative log-likelihoods of batches, in the arguments that this model takes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.takes_keep = "logits_to_keep" in inspect.signature(base.forward).parameters
        self.vocabulary = int(base.config.get_text_config().vocab_size)
        self.device = next(model.parameters()).device

    def __call__(self, rows: Sequence[_Row], pad: int) -> list[float]:
        """The sum over each row's scored tokens, in nats."""
        longest = max(len(row.ids) for row in rows)
        first = min(row.start for row in rows)
        ids_BL = torch.tensor([row.ids + [pad] * (longest - len(row.ids)) for row in rows], device=self.device)
        bounds_B2 = torch.tensor([[row.start, len(row.ids)] for row in rows], device=self.device)
        # The token at each position is predicted by the position before it.
        kept = longest - first + 1
        arguments = {"logits_to_keep": kept} if self.takes_keep else {}
        logits_BKV = self.model(input_ids=ids_BL, use_cache=False, **arguments).logits[:, -kept:-1]
        targets_BK = ids_BL[:, first:]
        at_K = torch.arange(first, longest, device=self.device)
        scored_BK = (at_K >= bounds_B2[:, :1]) & (at_K < bounds_B2[:, 1:])
        sums_B = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        step = max(1, PIECE // (len(rows) * logits_BKV.shape[-1]))
        for piece in range(0, longest - first, step):
            here = slice(piece, piece + step)
            nll_BKV = torch.nn.functional.cross_entropy(
                logits_BKV[:, here].float().flatten(0, 1), targets_BK[:, here].flatten(), reduction="none"
            )
            sums_B += nll_BKV.view(len(rows), -1).where(scored_BK[:, here], 0).sum(dim=1, dtype=torch.float64)
        sums: list[float] = sums_B.tolist()
        return sums
