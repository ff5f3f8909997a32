"""Training examples as token ids and labels: the loss is on the completion and its EOS token only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.models import encode_prompt

IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One tokenised example."""

    key: str
    """Names the example: its source and its key there, e.g. `mbpp MBPP/601`."""
    input_ids: list[int]
    labels: list[int]
    """The ids again, `IGNORED` where there is no loss."""
    cut: bool
    """Whether the example was longer than allowed and lost its end."""

    @property
    def supervised(self) -> int:
        """Number of tokens that the loss is taken on."""
        return sum(label != IGNORED for label in self.labels)


def tokenise(example: Example, tokenizer: Any, max_length: int) -> Tokens:
    """Tokenise prompt and completion together, append EOS, and mask the prompt.

    Tokens may merge across the boundary; supervision then starts where the two tokenisations part, as in TRL.
    """
    prompt_ids = encode_prompt(tokenizer, example.prompt)
    ids = [*encode_prompt(tokenizer, example.prompt + example.completion), tokenizer.eos_token_id]
    start = 0
    while start < min(len(prompt_ids), len(ids)) and prompt_ids[start] == ids[start]:
        start += 1
    start = max(start, 1)  # nothing predicts the first token
    labels = [IGNORED] * start + ids[start:]
    return Tokens(
        key=f"{example.source} {example.key}",
        input_ids=ids[:max_length],
        labels=labels[:max_length],
        cut=len(ids) > max_length,
    )


def tokenise_all(examples: Sequence[Example], tokenizer: Any, max_length: int) -> tuple[list[Tokens], int]:
    """Tokenise examples, leaving out those whose prompt alone fills `max_length`.

    Returns:
        The tokenised examples, and how many were left out (preflight tells the user).

    Raises:
        UsageError: nothing is left to train on.
    """
    tokens = [tokenise(example, tokenizer, max_length) for example in examples]
    kept = [item for item in tokens if item.supervised]
    if not kept:
        raise UsageError(
            f"train.max_length: at {max_length} tokens every one of the {len(tokens)} prompts leaves no room for its "
            f"completion; the shortest example has {min(len(item.input_ids) for item in tokens)} tokens or more."
        )
    return kept, len(tokens) - len(kept)
