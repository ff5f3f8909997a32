"""Batched decoding against `generate` of transformers: one prompt at a time, and in padded batches of the same size.

    python benchmarks/generation.py

`same length`: a random Llama (hidden size 256, 6 layers) writes exactly 48 tokens for each of the tiny benchmark's
prompts, with no end and no stop token, so that all sides do the same work; greedy, then eight samples a prompt, where
FLeX reads the prompt once. `own ends`: the packaged model completes the tiny benchmark's problems in four languages,
of as many lengths as they have. Padded batches are what one writes at first: the prompts in their order, padded on the
left, each batch until its last completion has ended.

float32, batches of 32, processor time of one thread, the better of two runs. Greedy completions are compared with those
of one prompt at a time: where they differ, the two best logits at the first other token say whether rounding may.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from flexlora.generation import Prompt, decode
from flexlora.tiny import TINY_MODEL
from flexlora.tiny.benchmark import problems

BATCH = 32
CLOSE = 1e-4
"""Logits that rounding may put in another order."""
ENDLESS = ("\0",)


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
    model, tokenizer = AutoModelForCausalLM.from_pretrained(TINY_MODEL), AutoTokenizer.from_pretrained(TINY_MODEL)
    texts = [p.prompt for language in ("py", "java", "js", "cpp") for p in problems("A", language, limit=16)]
    compared["own ends"] = row("own ends, greedy", Job(model.eval(), tokenizer, texts, new_tokens=150))
    print(
        "\n| greedy completions | texts | differ from one at a time | of these, best logits further apart than 1e-4 |"
    )
    print("|---|---|---|---|")
    for name, (texts_compared, differ, far) in compared.items():
        print(f"| {name} | {texts_compared} | {differ} | {far} |")


def endless() -> tuple[Any, Any]:
    """A random model that ends nothing, and its tokenizer."""
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
    return model, tokenizer


class Job:
    """Prompts to complete, by each side."""

    def __init__(self, model: Any, tokenizer: Any, texts: list[str], new_tokens: int, n: int = 1) -> None:
        tokenizer.padding_side = "left"
        self.model, self.tokenizer, self.texts, self.new_tokens, self.n = model, tokenizer, texts, new_tokens, n
        sampled = {"do_sample": True, "temperature": 0.8, "num_return_sequences": n}
        self.options = {"max_new_tokens": new_tokens, **(sampled if n > 1 else {"do_sample": False})}

    def one_at_a_time(self) -> list[list[int]]:
        """What a notebook does."""
        return self._generate(1, {**self.options, "num_return_sequences": 1}, self.n)

    def padded(self) -> list[list[int]]:
        """What it does next."""
        return self._generate(BATCH // self.n, self.options, 1)

    def _generate(self, size: int, options: dict[str, Any], repeats: int) -> list[list[int]]:
        made = []
        for start in range(0, len(self.texts), size):
            batch = self.tokenizer(self.texts[start : start + size], padding=True, return_tensors="pt")
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            for _ in range(repeats):
                made += self.model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :].tolist()
        return made

    def flex(self) -> dict[str, str]:
        """FLeX."""
        seeds = tuple(range(self.n))
        prompts = [
            Prompt(key=str(i), ids=self.tokenizer(text)["input_ids"], stop_tokens=ENDLESS, samples=seeds, seeds=seeds)
            for i, text in enumerate(self.texts)
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
                batch_size=BATCH,
            )
        }


def row(name: str, job: Job) -> tuple[int, int, int]:
    """Time the sides, print their row, and compare the texts where they are greedy."""
    taken: dict[str, list[float]] = {}
    for _ in range(2):
        for side in (job.one_at_a_time, job.padded, job.flex):
            taken.setdefault(side.__name__, []).append(seconds(side))
    one, padded, ours = (len(job.texts) * job.n / min(times) for times in taken.values())
    print(f"| {name} | {one:.2f} | {padded:.2f} | {ours:.2f} | {ours / one:.1f} | {ours / padded:.2f} |", flush=True)
    return differences(job) if job.n == 1 else (0, 0, 0)


def seconds(work: Callable[[], object]) -> float:
    """Of one thread of the processor."""
    started = time.process_time()
    work()
    return time.process_time() - started


@torch.no_grad()
def differences(job: Job) -> tuple[int, int, int]:
    """Texts, those that differ from one prompt at a time, and those of them that rounding does not explain."""
    theirs, ours = job.one_at_a_time(), job.flex()
    differ = far = 0
    for i, ids in enumerate(theirs):
        ids = [token for token in ids if token != job.tokenizer.eos_token_id]
        if job.tokenizer.decode(ids) == ours[str(i)]:
            continue
        differ += 1
        common = max(k for k in range(len(ids) + 1) if ours[str(i)].startswith(job.tokenizer.decode(ids[:k])))
        prompt = job.tokenizer(job.texts[i])["input_ids"]
        best = job.model(torch.tensor([prompt + ids[:common]])).logits[0, -1].topk(2).values
        far += bool(best[0] - best[1] > CLOSE)
    return len(theirs), differ, far


if __name__ == "__main__":
    main()
