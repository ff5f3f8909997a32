"""Batched decoding against `generate` of transformers, one prompt at a time, on the same model, prompts and lengths.

A random Llama (hidden size 256, 6 layers) writes exactly `NEW_TOKENS` tokens for each of the tiny benchmark's prompts
(no end-of-sequence, no stop token), so that both sides do the same work. Greedy, one sample a prompt; then eight
samples a prompt, where the prompt is read once. Run: python benchmarks/generation.py
"""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from flexlora.generation import Prompt, decode
from flexlora.tiny import TINY_MODEL
from flexlora.tiny.benchmark import problems

NEW_TOKENS = 48
PROMPTS = 32


def main() -> None:
    """Time both sides in turn and print the ratios."""
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    tokenizer.eos_token = None
    texts = [p.prompt for language in ("py", "java") for p in problems("A", language, limit=PROMPTS // 2)]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    print("| samples a prompt | one at a time, tokens/s | batch of 32, tokens/s | ratio |\n|---|---|---|---|")
    for n in (1, 8):
        one = rate(lambda n=n: one_at_a_time(model, ids, n), PROMPTS * n)
        ours = rate(lambda n=n: batched(model, tokenizer, ids, n), PROMPTS * n)
        print(f"| {n} | {one:.0f} | {ours:.0f} | {ours / one:.1f} |")


def rate(work: Any, sequences: int) -> float:
    """Tokens a second, the better of two runs."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return sequences * NEW_TOKENS / min(taken)


def one_at_a_time(model: Any, ids: list[list[int]], n: int) -> None:
    """What a notebook does."""
    for prompt in ids:
        for _ in range(n):
            one = torch.tensor([prompt])
            options = {"do_sample": True, "temperature": 0.8} if n > 1 else {"do_sample": False}
            model.generate(one, attention_mask=torch.ones_like(one), max_new_tokens=NEW_TOKENS, **options)


def batched(model: Any, tokenizer: Any, ids: list[list[int]], n: int) -> None:
    """FLeX."""
    prompts = [
        Prompt(key=str(i), ids=prompt, stop_tokens=("\0",), samples=tuple(range(n)), seeds=tuple(range(n)))
        for i, prompt in enumerate(ids)
    ]
    temperature = 0.8 if n > 1 else 0.0
    for _ in decode(
        model, tokenizer, prompts, max_new_tokens=NEW_TOKENS, temperature=temperature, top_p=1.0, batch_size=32
    ):
        pass


if __name__ == "__main__":
    main()
