"""Batched decoding against `generate` of transformers: one prompt at a time, and in padded batches of the same size.

    python benchmarks/generation.py
    python benchmarks/generation.py large

`same length`: a random Llama (hidden size 256, 6 layers) writes exactly 48 tokens for each of the tiny benchmark's
prompts, with no end and no stop token, so that all sides do the same work; greedy, then eight samples a prompt, where
FLeX reads the prompt once. `prescribed lengths`: the same model counts down to its end from the prompt's last token, 64
tokens on average, exponentially distributed, 256 at most. `own ends`: the packaged model completes the tiny benchmark's
problems in four languages. Padded batches are what one writes at first: the prompts in their order, padded on the
left, each batch until its last completion has ended.

float32, batches of 32, the better of two runs: processor time of one thread, or on a GPU time until it is done.
Greedy completions are compared with those of one prompt at a time: where they differ, the two best logits at the
first other token say whether rounding may.

`large`, for a GPU (a small Llama where there is none): Code Llama 7B's shape with random weights in bfloat16 writes
exactly 64 tokens (else 8) for each of 64 prompts, so many at a time; the better of two runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from flexlora.generation import Prompt, decode
from flexlora.tiny import TINY_MODEL
from flexlora.tiny.benchmark import problems
from fourier import CODE_LLAMA_7B

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 32
CLOSE = 1e-4
"""Logits that rounding may put in another order."""
LONGEST = 256
LARGE_TOKENS = 64 if DEVICE == "cuda" else 8
ENDLESS = ("\0\0",)


def main() -> None:
    """Time the three sides in turn and print the ratios."""
    torch.set_num_threads(1)
    print("| completions | one at a time, per s | padded batches | FLeX | of one at a time | of padded batches |")
    print("|---|---|---|---|---|---|")
    compared = {}
    model, tokenizer = endless()
    texts = [p.prompt for language in ("py", "java") for p in problems("A", language, limit=BATCH // 2)]
    compared["same length"] = row("same length, greedy", Job(model, tokenizer, texts, new_tokens=48))
    row("same length, 8 samples", Job(model, tokenizer, texts[:8], new_tokens=48, n=8))
    counting, jobs = endless(Countdown)[0], [*texts, *texts]
    job = Job(counting, tokenizer, jobs, new_tokens=LONGEST)
    lengths = torch.empty(len(jobs)).exponential_(1 / 64, generator=torch.Generator().manual_seed(0))
    job.ids = [[*ids, int(length)] for ids, length in zip(job.ids, lengths.clamp(2, LONGEST).tolist(), strict=True)]
    compared["prescribed lengths"] = row("prescribed lengths, greedy", job)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(TINY_MODEL), AutoTokenizer.from_pretrained(TINY_MODEL)
    texts = [p.prompt for language in ("py", "java", "js", "cpp") for p in problems("A", language, limit=16)]
    compared["own ends"] = row("own ends, greedy", Job(model.eval().to(DEVICE), tokenizer, texts, new_tokens=150))
    print("\n| greedy completions | texts | other than one at a time | of these, best logits further apart than 1e-4 |")
    print("|---|---|---|---|")
    for name, (texts_compared, differ, far) in compared.items():
        print(f"| {name} | {texts_compared} | {differ} | {far} |")


class Countdown(LlamaForCausalLM):  # type: ignore[misc]  # transformers has no types
    """Does a Llama's work, and predicts the token below the one it reads; 0 is the end."""

    def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
        """Logits that leave no doubt."""
        output = super().forward(input_ids, **inputs)
        output.logits[:, -1].scatter_(1, (input_ids[:, -1:] - 1).clamp(min=0), 1e4)
        return output


def large() -> None:
    """Time padded batches and FLeX on a large model, and print tokens a second and milliseconds a step."""
    shape = (
        CODE_LLAMA_7B if DEVICE == "cuda" else {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        model = LlamaForCausalLM(LlamaConfig(**shape, bos_token_id=None, eos_token_id=None, pad_token_id=0)).eval()
    torch.set_default_dtype(torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    tokenizer.eos_token = None
    texts = [p.prompt for language in ("py", "java") for p in problems("A", language, limit=32)]
    print("| at a time | padded batches, tokens per s | FLeX | ratio | FLeX, ms a step | of one row |")
    print("|---|---|---|---|---|---|", flush=True)
    for batch in (16, 64):
        job = Job(model, tokenizer, texts, new_tokens=LARGE_TOKENS, batch=batch)
        padded, ours = (min(seconds(side) for _ in range(2)) for side in (job.padded, job.flex))
        tokens, steps = len(texts) * LARGE_TOKENS, len(texts) * LARGE_TOKENS / batch
        speeds = f"{tokens / padded:.0f} | {tokens / ours:.0f} | {padded / ours:.2f}"
        print(f"| {batch} | {speeds} | {1000 * ours / steps:.1f} | {1000 * ours / tokens:.2f} |", flush=True)


def endless(kind: type = LlamaForCausalLM) -> tuple[Any, Any]:
    """A random model that ends nothing of itself, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        bos_token_id=None,
        eos_token_id=0 if kind is Countdown else None,
        pad_token_id=0,
    )
    model = kind(config).eval().to(DEVICE)
    tokenizer.eos_token = None
    return model, tokenizer


class Job:
    """Prompts to complete, by each side."""

    def __init__(
        self, model: Any, tokenizer: Any, texts: list[str], new_tokens: int, n: int = 1, batch: int = BATCH
    ) -> None:
        tokenizer.padding_side = "left"
        self.model, self.tokenizer, self.new_tokens, self.n, self.batch = model, tokenizer, new_tokens, n, batch
        self.ids: list[list[int]] = [tokenizer(text)["input_ids"] for text in texts]
        sampled = {"do_sample": True, "temperature": 0.8, "num_return_sequences": n}
        self.options = {"max_new_tokens": new_tokens, **(sampled if n > 1 else {"do_sample": False})}

    def one_at_a_time(self) -> list[list[int]]:
        """What a notebook does."""
        return self._generate(1, {**self.options, "num_return_sequences": 1}, self.n)

    def padded(self) -> list[list[int]]:
        """What it does next."""
        return self._generate(self.batch // self.n, self.options, 1)

    def _generate(self, size: int, options: dict[str, Any], repeats: int) -> list[list[int]]:
        made = []
        for start in range(0, len(self.ids), size):
            rows = {"input_ids": self.ids[start : start + size]}
            batch = self.tokenizer.pad(rows, padding=True, return_tensors="pt")
            inputs = {name: batch[name].to(DEVICE) for name in ("input_ids", "attention_mask")}
            for _ in range(repeats):
                made += self.model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :].tolist()
        return made

    def flex(self) -> dict[str, str]:
        """FLeX."""
        seeds = tuple(range(self.n))
        prompts = [
            Prompt(key=str(i), ids=ids, stop_tokens=ENDLESS, samples=seeds, seeds=seeds)
            for i, ids in enumerate(self.ids)
        ]
        return {
            done.key: done.text
            for done in decode(
                self.model,
                self.tokenizer,
                prompts,
                max_new_tokens=self.new_tokens,
                temperature=0.8 if self.n > 1 else 0.0,
                top_p=1.0,
                batch_size=self.batch,
            )
        }


def row(name: str, job: Job) -> tuple[int, int, int]:
    """Time the sides, print their row, and compare the texts where they are greedy."""
    taken: dict[str, list[float]] = {}
    for _ in range(2):
        for side in (job.one_at_a_time, job.padded, job.flex):
            taken.setdefault(side.__name__, []).append(seconds(side))
    one, padded, ours = (len(job.ids) * job.n / min(times) for times in taken.values())
    print(f"| {name} | {one:.2f} | {padded:.2f} | {ours:.2f} | {ours / one:.1f} | {ours / padded:.2f} |", flush=True)
    return differences(job) if job.n == 1 else (0, 0, 0)


def seconds(work: Callable[[], object]) -> float:
    """Of one thread of the processor, or until the GPU is done: every side reads its tokens back."""
    clock = time.perf_counter if DEVICE == "cuda" else time.process_time
    started = clock()
    work()
    return clock() - started


@torch.no_grad()
def differences(job: Job) -> tuple[int, int, int]:
    """Texts, those that differ from one prompt at a time, and those of them that rounding does not explain."""
    theirs, ours = job.one_at_a_time(), job.flex()
    differ = far = 0
    for i, ids in enumerate(theirs):
        ids = [token for token in ids if token != job.model.generation_config.eos_token_id]
        if job.tokenizer.decode(ids) == ours[str(i)]:
            continue
        differ += 1
        common = max(k for k in range(len(ids) + 1) if ours[str(i)].startswith(job.tokenizer.decode(ids[:k])))
        best = job.model(torch.tensor([job.ids[i] + ids[:common]], device=DEVICE)).logits[0, -1].topk(2).values
        far += bool(best[0] - best[1] > CLOSE)
    return len(theirs), differ, far


if __name__ == "__main__":
    large() if sys.argv[1:] == ["large"] else main()
