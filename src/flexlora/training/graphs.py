"""The loss of a row as CUDA graphs: a step's kernels are recorded once for a length, and then started all at once.

With few examples a step a GPU is done with most kernels sooner than the processor can launch the next one. What a graph
has recorded has fixed shapes, so rows are filled up to one of few lengths, with tokens of a document of their own that
nothing is supervised in.
"""

from __future__ import annotations

from typing import Any

import torch

from flexlora.training.padding_free import ATTENTION, KEEP, LENGTHS, STARTS
from flexlora.training.tokens import IGNORED

SMALLEST = 128
"""Lengths are multiples of it, and of an eighth of the next power of two."""


class Recorded:
    """Summed loss of rows by a model in training, each length recorded when it is first seen.

    Args:
        model: with an adapter, on a GPU in half precision, with attention by document.
        documents: most documents of a row.
        longest: most tokens of one.
    """

    def __init__(self, model: Any, documents: int, longest: int) -> None:
        self.model, self.documents = model, documents
        self.longest = longest
        self.graphs: dict[tuple[int, int], Any] = {}
        self.pool: Any = None  # one for all: a row's backward is done before the next row is begun

    def __call__(
        self, row: dict[str, Any], keep: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The summed loss, and how many supervised tokens are the most likely; the next call overwrites both.

        Args:
            row: a batch of `DocumentCollator` without `keep` and labels.
            keep: positions that predict a supervised token, (supervised,).
            targets: these tokens, (supervised,).

        Raises:
            RuntimeError: the model does something that cannot be recorded.
        """
        filled = fill(row, keep, targets, self.documents)
        shape = (filled[0].shape[1], len(filled[3]))
        if shape not in self.graphs:
            self.graphs[shape] = self._record(filled)
        loss, right = self.graphs[shape](*filled)
        return loss, right

    def _record(self, filled: tuple[torch.Tensor, ...]) -> Any:
        if self.pool is None:
            torch.cuda.empty_cache()  # what the first step took is to be had for the graphs
            self.pool = torch.cuda.graph_pool_handle()
        # The first step has run all kinds of kernels; one to warm up at this length would take its memory twice.
        sample = tuple(tensor.clone() for tensor in filled)
        bound = max(self.longest, longest_filling(filled[0].shape[1]))
        with torch.random.fork_rng([torch.cuda.current_device()]), torch.autocast("cuda", enabled=False):
            return torch.cuda.make_graphed_callables(
                RowLoss(self.model, (bound, bound)), sample, num_warmup_iters=0, pool=self.pool
            )


class RowLoss(torch.nn.Module):
    """What is recorded: from a row to its summed loss, with inputs of fixed shapes and the model's own autocast."""

    def __init__(self, model: Any, lengths: tuple[int, ...]) -> None:
        """A model and the lengths of a row's documents, or, on a GPU, bounds on them."""
        super().__init__()
        self.model, self.lengths = model, lengths

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        starts: torch.Tensor,
        keep: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The summed loss, and how many supervised tokens are the most likely: as `fill` gives the arguments."""
        torch.clear_autocast_cache()  # a weight that was cast before would not be cast again in a replay
        places = {LENGTHS: self.lengths, STARTS: starts, KEEP: keep}
        logits = self.model(input_ids=input_ids, position_ids=position_ids, **places, use_cache=False).logits[0].float()
        torch.clear_autocast_cache()
        loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        return loss, (logits.detach().argmax(-1) == targets).sum()


def fill(
    row: dict[str, Any], keep: torch.Tensor, targets: torch.Tensor, documents: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A row of one of few lengths.

    Returns:
        Tokens and positions, (1, length); starts, (documents + 2,); positions that predict and what they should,
        (length / 2,), or (length,) where more than half of the tokens are supervised.
    """
    ids, starts = row["input_ids"], row[STARTS]
    tokens = ids.shape[1]
    length, supervised = shape_of(tokens, len(keep))
    pad = torch.nn.functional.pad
    ends = starts.new_full((documents + 2 - len(starts),), tokens)
    ends[-1] = length
    return (
        pad(ids, (0, length - tokens)),
        pad(row["position_ids"], (0, length - tokens)),
        torch.cat([starts, ends]),
        pad(keep, (0, supervised - len(keep))),
        pad(targets, (0, supervised - len(targets)), value=IGNORED),
    )


def shape_of(tokens: int, supervised: int) -> tuple[int, int]:
    """The tokens and the positions that predict, once a row of so many is filled up; there is a filling always."""
    step = max(SMALLEST, (1 << tokens.bit_length()) // 8)
    length = (tokens // step + 1) * step
    return length, length // 2 if 2 * supervised <= length else length


def longest_filling(length: int) -> int:
    """The most tokens that `shape_of` adds to come to a length."""
    return max(SMALLEST, length // 4)


def recordable(model: Any) -> bool:
    """Whether a model's steps can be recorded, as far as that can be said beforehand."""
    base = model.get_base_model()
    by_document = base.config._attn_implementation == ATTENTION
    weights = next(iter(base.get_input_embeddings().parameters()))
    half = weights.is_cuda and weights.dtype in (torch.bfloat16, torch.float16)
    return by_document and half and getattr(base, "hf_quantizer", None) is None
