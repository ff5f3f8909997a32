"""The prompts that a merged model is tried on: a packaged sample in many languages, or one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

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
        prompts = [record.get("prompt") for _, record in read_jsonl(path)]
    else:
        try:
            prompts = [block.strip("\n") for block in path.read_text().split("\n\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--prompts {path}: cannot be read ({error}).") from error
    found = [prompt for prompt in prompts if isinstance(prompt, str) and prompt.strip()]
    if not found:
        raise UsageError(
            f"--prompts {path}: holds no prompts. Give JSON lines with a `prompt` each (.jsonl), or text with blank "
            "lines between prompts."
        )
    return found


def encode(tokenizer: Any, prompts: list[str], context: int | None) -> list[list[int]]:
    """The prompts' token ids, cut to what the model and this audit have room for."""
    longest = min(LONGEST, (context or LONGEST + ANSWER) - ANSWER)
    return [ids for ids in (encode_prompt(tokenizer, prompt)[:longest] for prompt in prompts) if ids]


def greedy_answer(model: Any, ids: list[int]) -> list[int]:
    """The prompt's ids with the model's greedy answer behind them, up to the end-of-sequence token."""
    shown = torch.tensor([ids], device=model.device)
    config = GenerationConfig(
        max_new_tokens=ANSWER,
        do_sample=False,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=0,
    )
    made: list[int] = model.generate(
        input_ids=shown, attention_mask=torch.ones_like(shown), generation_config=config
    ).tolist()[0]
    return made


def split(ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts to compare answers on, and to calibrate on every second one: no loss is measured where it was tuned."""
    return ids[::2], ids[1::2]


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits of every position (t, vocabulary), float32."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device)).logits[0]
    return logits.float()
