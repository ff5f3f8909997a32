"""Batches without padding: the examples of a batch in one row, one after another, each attending to itself only.

The examples of every batch, and so of every step, are those of the padded one. What keeps them apart is transformers'
own for packed rows: positions that begin anew, and no attention mask. Under `sdpa` it would build one mask over the
whole row, of (sum of lengths)^2 values; here attention runs document by document instead, which costs the sum of
squares and, where nothing but causality is masked, no mask at all; in half precision on a GPU in one kernel for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from flexlora.errors import UsageError
from flexlora.training.tokens import IGNORED

LENGTHS = "document_lengths"
"""Key of a batch: a tuple of integers, which are known without asking the device."""
STARTS = "document_starts"
"""Key of a batch: where its documents start, and the last one ends, on the device: (documents + 1,) int32."""
KEEP = "logits_to_keep"
"""Key of a batch, and argument of models: the positions that predict a supervised token."""
ATTENTION = "sdpa_by_document"
FIRST, SECOND = (3, 17, 8, 11, 5, 14, 2, 9, 20, 6, 13, 4), (7, 19, 10, 3, 16, 12, 1, 18, 15, 21, 8, 5, 2, 14, 6, 11)
"""Tokens of two short documents to try."""
TOLERANCE = {True: 1e-4, False: 0.1}
"""How far rounding may move logits, relative to their spread: in float32, and in half precision."""


@dataclass
class DocumentCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]  # TRL has no types
    """TRL's collator for rows without padding, with the lengths and the predicting positions of its documents.

    The label of a document's first token is ignored, as that token would be predicted by the document before.
    """

    padding_free: bool = True

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """One row of all examples."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch[LENGTHS] = tuple(len(example["input_ids"]) for example in examples)
        batch[STARTS] = torch.tensor([0, *itertools.accumulate(batch[LENGTHS])], dtype=torch.int32)
        batch[KEEP] = (batch["labels"][0, 1:] != IGNORED).nonzero()[:, 0]
        return batch


def attention_by_document(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    document_lengths: Sequence[int] | None = None,
    document_starts: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`sdpa` of transformers on every document of a row.

    Args:
        module: the attention layer.
        query, key, value: (1, heads, row, head size); of any batch size without `document_lengths`.
        attention_mask: (1, 1 or heads, row, row); None is causal within each document.
        document_lengths: they sum to the row's.
        document_starts: what they sum to, on the device; None takes one document after the other.
        **options: of `sdpa_attention_forward`.

    Returns:
        (1, row, heads, head size), and None for the attention weights.
    """
    if document_lengths is None or len(document_lengths) == 1:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output
    if document_starts is not None and attention_mask is None and _fits_one_kernel(query, **options):
        starts, longest = document_starts, max(document_lengths)
        grouped: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (row, heads, head size)
        joined: Any = varlen_attn(
            q,
            k,
            v,
            cu_seq_q=starts,
            cu_seq_k=starts,
            max_q=longest,
            max_k=longest,
            scale=options.get("scaling"),
            window_size=(-1, 0),
            **grouped,
        )
        return joined[None], None
    outputs = []
    start = 0
    for parts in zip(*(torch.split(x, list(document_lengths), dim=2) for x in (query, key, value)), strict=True):
        here = slice(start, start + parts[0].shape[2])
        mask = None if attention_mask is None else attention_mask[..., here, here]
        outputs.append(sdpa_attention_forward(module, *parts, mask, **options)[0])
        start = here.stop
    return torch.cat(outputs, dim=1), None


def _fits_one_kernel(query: torch.Tensor, dropout: float = 0.0, is_causal: bool | None = None, **options: Any) -> bool:
    """Whether torch's attention for documents of several lengths, which is FlashAttention's, takes a layer."""
    half = query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
    return half and query.shape[-1] <= 256 and not dropout and is_causal is not False and not options.get("softcap")


def mask_by_document(
    *, attention_mask: torch.Tensor | None = None, local_size: int | None = None, use_vmap: bool = False, **options: Any
) -> torch.Tensor | None:
    """The mask for `attention_by_document`: none, where only causality and other documents are masked.

    Args:
        attention_mask: (batch, length) of padded rows, which are not split.
        local_size: of windows and chunks.
        use_vmap: whether a model adds masks of its own.
        **options: of `sdpa_mask`.
    """
    if attention_mask is None and local_size is None and not use_vmap:
        return None
    mask: torch.Tensor | None = sdpa_mask(
        attention_mask=attention_mask, local_size=local_size, use_vmap=use_vmap, **options
    )
    return mask


AttentionInterface.register(ATTENTION, attention_by_document)
AttentionMaskInterface.register(ATTENTION, mask_by_document)


def separate_documents(model: Any) -> None:
    """Let a model, with or without an adapter, keep the documents of a row apart, and make sure that it does.

    Raises:
        UsageError: a document's logits depend on the one before it, or on its place in the row.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    loaded = base.config._attn_implementation
    alone = _logits(model, {"input_ids": torch.tensor([SECOND])})
    if loaded == "sdpa":
        base.set_attn_implementation(ATTENTION)
        if _what_leaks(model, alone) is None:
            return
        base.set_attn_implementation(loaded)  # layers that are not told the lengths take the mask over the whole row
    if (why := _what_leaks(model, alone)) is not None:
        raise UsageError(
            f"train.padding_free: examples of a batch cannot share a row in a {type(base).__name__}: {why}. Set "
            "train.padding_free=false, which pads them."
        )


def _what_leaks(model: Any, alone: torch.Tensor) -> str | None:
    """Whether the second document's logits move with the first one's tokens, or from what they are alone."""
    try:
        beside, beside_another = (_logits(model, _row(first))[-len(SECOND) :] for first in (FIRST, FIRST[::-1]))
    except (TypeError, ValueError, RuntimeError) as error:
        return f"it does not take a row of several ({str(error).partition('. ')[0]})"
    allowed = TOLERANCE[alone.dtype == torch.float32] * alone.std()
    if not (beside - beside_another).abs().max() <= allowed:
        return "its logits depend on the example before"
    return None if (beside - alone).std() <= allowed else "its logits depend on the place in the row"


def _row(first: tuple[int, ...]) -> dict[str, Any]:
    batch = DocumentCollator(pad_token_id=0)([{"input_ids": tokens} for tokens in (first, SECOND)])
    return {name: value for name, value in batch.items() if name not in ("labels", KEEP)}


@torch.no_grad()
def _logits(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """(tokens, vocabulary) of a batch of one row."""
    device = next(model.parameters()).device
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        logits: torch.Tensor = model(**moved, use_cache=False).logits[0]
    finally:
        for module in training:
            module.training = True
    return logits
