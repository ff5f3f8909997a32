"""The prompts that a merged model is tried on: a packaged sample in many languages, or one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from flexlora.errors import UsageError
from flexlora.files import read_jsonl
from flexlora.models import encode_prompt

SAMPLE = Path(__file__).with_name("prompts.jsonl")
ANSWER = 16
"""Tokens of the greedy answer."""
LONGEST = 512
"""Tokens of a prompt that are used, from its beginning."""


def read_prompts(path: Path | None) -> list[str]:
    """Prompts of a JSON lines file (`.jsonl`, key `prompt`), or of a text file with blank lines between them.

    Raises:
        UsageError: the file is missing, or holds no prompts.
    """
    path = path or SAMPLE
    if path.suffix == ".jsonl":
        records = list(read_jsonl(path))
        if absent := [number for number, record in records if not isinstance(record.get("prompt"), str)]:
            raise UsageError(f"--prompts {path}, line {absent[0]}: there is no text under `prompt`.")
        prompts = [record["prompt"] for _, record in records]
    else:
        try:
            prompts = [block.strip("\n") for block in path.read_text().split("\n\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--prompts {path}: cannot be read ({error}).") from error
    found = [prompt for prompt in prompts if prompt.strip()]
    if not found:
        raise UsageError(
            f"--prompts {path}: holds no prompts. Give JSON lines with a `prompt` each (.jsonl), or text with blank "
            "lines between prompts."
        )
    return found


def encode(tokenizer: Any, prompts: list[str], context: int | None) -> list[list[int]]:
    """The prompts' token ids, cut to what the model and this audit have room for."""
    longest = max(0, min(LONGEST, (context or LONGEST + ANSWER) - ANSWER))
    return [ids for ids in (encode_prompt(tokenizer, prompt)[:longest] for prompt in prompts) if ids]


def greedy_answer(model: Any, ids: list[int]) -> list[int]:
    """The prompt's ids with the model's greedy answer behind them, up to the end-of-sequence token.

    Not by `generate`, which takes penalties on repetition from the model's own settings.
    """
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    shown = list(ids)
    for _ in range(ANSWER):
        shown.append(int(logits_of(model, shown)[-1].argmax()))
        if shown[-1] in ends:
            break
    return shown


def split(ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts to compare answers on, and to calibrate on every second one: no loss is measured where it was tuned."""
    return ids[::2], ids[1::2]


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits of every position (t, vocabulary), float32."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device)).logits[0]
    return logits.float()
