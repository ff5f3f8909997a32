"""Batched decoding that wastes little: `transformers`' models, with a loop of our own around their cache.

`generate` of transformers cannot do what an evaluation needs at once: a seed for every completion, stop texts for
every prompt, one prefill for the n samples of a prompt, and finished completions leaving the batch. So:

- Prompts are sorted by length and batched with padding on the left; the longest come first, so that a batch that
  does not fit in memory fails at once.
- Each prompt is read once; its cache entries are then copied for its samples.
- When a quarter of the batch has finished, the finished ones are dropped from the cache.

Limits: batches of other compositions change logits by rounding (about 1e-6 in float32, far more in bfloat16), so
another `batch_size` may change texts. A resumed decoding therefore makes the same batches again, less those that are
finished as a whole.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flexlora.errors import FlexError, UsageError
from flexlora.generation.sampling import choose, uniform_numbers
from flexlora.generation.streams import FinishReason, Stream
from flexlora.models import context_length

KEEP_WHILE_LIVE = 0.75  # share of unfinished sequences below which the cache is compacted


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt and the samples wanted of it."""

    key: str
    ids: list[int]
    stop_tokens: tuple[str, ...]
    samples: tuple[int, ...]
    """Numbers of the samples."""
    seeds: tuple[int, ...]
    """Their seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One finished sample."""

    key: str
    sample: int
    text: str
    """Cut at the earliest stop token."""
    finish_reason: FinishReason
    seed: int
    logprob: float | None = None
    """Sum over its tokens, with the one that ended it, of the log of the probability that the model gives them,
    whatever the temperature; None where whatever generated it does not say."""
    tokens: int | None = None
    """How many these are."""


@torch.inference_mode()
def decode(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    done: Collection[tuple[str, int]] = (),
) -> Iterator[Completion]:
    """Yield every sample of every prompt but those in `done`, each as soon as it is finished.

    Args:
        done: (key of the prompt, number of the sample), which an earlier call has yielded.

    Raises:
        UsageError: a prompt has no tokens, or fills the model's context.
        FlexError: out of GPU memory, or the model's output is not a number.
    """
    model.eval()
    limit = context_length(model)
    for prompt in prompts:
        if not prompt.ids:
            raise UsageError(f"{prompt.key}: it has no tokens, so there is nothing to continue.")
        if limit is not None and len(prompt.ids) >= limit:
            raise UsageError(
                f"{prompt.key}: its prompt has {len(prompt.ids)} tokens, and the model's context ends at {limit}. "
                "Use a model with a longer context, or leave the problem out (tasks: limit)."
            )
    rows = [(prompt, i) for prompt in sorted(prompts, key=lambda p: -len(p.ids)) for i in range(len(prompt.samples))]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        if all((prompt.key, prompt.samples[i]) in done for prompt, i in batch):
            continue
        try:
            for completion in _decode_batch(model, tokenizer, batch, max_new_tokens, temperature, top_p, limit):
                if (completion.key, completion.sample) not in done:
                    yield completion
        except torch.cuda.OutOfMemoryError as error:
            raise FlexError(
                f"out of GPU memory with {len(batch)} sequences at once; run the recipe again with --set "
                f"sampling.batch_size={max(1, batch_size // 2)} (finished samples are kept)."
            ) from error


def _decode_batch(
    model: Any,
    tokenizer: Any,
    rows: Sequence[tuple[Prompt, int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    limit: int | None,
) -> Iterator[Completion]:
    device = next(model.parameters()).device
    eos_ids = _eos_ids(model, tokenizer)
    distinct = list({prompt.key: prompt for prompt, _ in rows}.values())
    which = {prompt.key: i for i, prompt in enumerate(distinct)}
    streams = [
        Stream(
            tokenizer,
            prompt.ids,
            prompt.stop_tokens,
            eos_ids,
            max_new_tokens if limit is None else min(max_new_tokens, limit - len(prompt.ids)),
        )
        for prompt, _ in rows
    ]
    u_BT = torch.stack([uniform_numbers(prompt.seeds[i], max_new_tokens) for prompt, i in rows]).to(device)

    # Prefill: each distinct prompt once, then its cache rows and logits for every sample of it.
    longest = max(len(prompt.ids) for prompt in distinct)
    pad = tokenizer.pad_token_id
    ids_PL = torch.tensor([[pad] * (longest - len(p.ids)) + p.ids for p in distinct], device=device)
    mask_PL = torch.tensor([[0] * (longest - len(p.ids)) + [1] * len(p.ids) for p in distinct], device=device)
    forward = _Forward(model, limit)
    logits_PV, cache = forward(ids_PL, mask_PL, None)
    copies_B = torch.tensor([which[prompt.key] for prompt, _ in rows], device=device)
    if len(rows) != len(distinct):
        cache.reorder_cache(copies_B)
    logits_BV, mask_BT = logits_PV[copies_B], mask_PL[copies_B]

    logprobs = [0.0] * len(rows)
    live = list(range(len(rows)))  # for each row of the cache, its stream
    for step in range(max_new_tokens):
        next_B = choose(logits_BV, temperature, top_p, u_BT[:, step])
        logprob_B = logits_BV.float().log_softmax(dim=-1).gather(-1, next_B.unsqueeze(-1)).squeeze(-1)
        # One transfer for all three; a double holds every token's number exactly.
        chosen = torch.stack([next_B.double(), logits_BV.isnan().any(dim=-1).double(), logprob_B.double()])
        for row, (token, broken, logprob) in enumerate(zip(*chosen.tolist(), strict=True)):
            stream = streams[live[row]]
            if stream.finished:
                continue
            prompt, i = rows[live[row]]
            logprobs[live[row]] += logprob
            if broken:
                raise FlexError(
                    f"{prompt.key}: the model's output is not a number after {step} tokens. Was its training stable? "
                    "In float16 a model may overflow: try --set precision=bfloat16 or float32."
                )
            if stream.push(int(token)):
                assert stream.finish_reason is not None
                yield Completion(
                    key=prompt.key,
                    sample=prompt.samples[i],
                    text=stream.text(),
                    finish_reason=stream.finish_reason,
                    seed=prompt.seeds[i],
                    logprob=logprobs[live[row]],
                    tokens=step + 1,
                )
        unfinished = [row for row, index in enumerate(live) if not streams[index].finished]
        if not unfinished:
            return
        if len(unfinished) <= KEEP_WHILE_LIVE * len(live):
            keep_B = torch.tensor(unfinished, device=device)
            cache.reorder_cache(keep_B)
            next_B, mask_BT, u_BT = next_B[keep_B], mask_BT[keep_B], u_BT[keep_B]
            live = [live[row] for row in unfinished]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(live), 1)], dim=1)
        logits_BV, cache = forward(next_B.unsqueeze(-1), mask_BT, cache)


class _Forward:
    """One forward pass with a cache, in the arguments that this model takes."""

    def __init__(self, model: Any, limit: int | None) -> None:
        self.model = model
        self.last_position = None if limit is None else limit - 1
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        accepted = inspect.signature(base.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.last_logits = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def __call__(self, ids_BL: torch.Tensor, mask_BT: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        """Logits of the last position, (B, V), and the cache. `mask_BT` covers the cached positions too."""
        arguments: dict[str, Any] = dict(self.last_logits)
        if self.takes_positions:
            # A finished sequence that has not left the batch yet may run past the context; nobody reads its logits.
            positions_BT = (mask_BT.cumsum(dim=-1) - 1).clamp(min=0, max=self.last_position)
            arguments["position_ids"] = positions_BT[:, -ids_BL.shape[1] :]
        out = self.model(input_ids=ids_BL, attention_mask=mask_BT, past_key_values=cache, use_cache=True, **arguments)
        return out.logits[:, -1], out.past_key_values


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    ids = getattr(model.generation_config, "eos_token_id", None)
    named = ids if isinstance(ids, list) else [ids]
    return frozenset(i for i in [*named, tokenizer.eos_token_id] if i is not None)
