"""Builds the tiny model: a tokenizer and a Llama of under a million parameters, trained from scratch on set `a`.

Documents are a prompt and its reference body, in Python or Java; a fifth are pairs, the same problem in both
languages. The loss is on bodies only. Function names are made up anew for each document. The same seed gives the same
data, and on the same machine the same weights.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flexlora.errors import UsageError
from flexlora.progress import bar
from flexlora.tiny.problems import LANGUAGES, body, examples, function_name, keys, prompt
from flexlora.version import __version__

VOCABULARY = 512
CONTEXT = 512
PAIRS = 0.2
STEPS = 500
BATCH = 24
PEAK_LEARNING_RATE = 2.5e-3
IGNORED = -100

CARD = """---
license: apache-2.0
---
# FLeX tiny model

A Llama of {parameters:,} parameters, trained from scratch in {steps} steps on generated one-line problems in Python and
Java (`flexlora tiny build`, version {version}, seed {seed}; last loss {loss:.3f}). It is for trying FLeX out: it can
write nothing else, and nothing about it carries over to real models.
"""


def build(output: Path, seed: int = 0, steps: int = STEPS) -> Path:
    """Train the tiny model and save it as a Hugging Face folder; a killed build leaves nothing at `output`.

    Raises:
        UsageError: `output` exists and is not a model.
    """
    if (output / "config.json").is_file():
        card = (output / "README.md").read_text() if (output / "README.md").is_file() else ""
        if f", seed {seed};" not in card:
            raise UsageError(f"{output}: holds another model, or one of another seed; choose another --output.")
        return output
    if output.exists():
        raise UsageError(f"{output}: exists, and is not a model; choose another --output.")
    tokenizer = make_tokenizer()
    model, loss = _train(tokenizer, seed, steps)
    aside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    card = CARD.format(parameters=model.num_parameters(), steps=steps, version=__version__, seed=seed, loss=loss)
    (aside / "README.md").write_text(card)
    aside.rename(output)
    return output


def make_tokenizer() -> Any:
    """Byte-level BPE with digits one by one and newlines by themselves, so that a prompt and its body, tokenised
    apart, are the tokens of the whole.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [e.prompt + e.completion for language in LANGUAGES for e in examples("a", language)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def _train(tokenizer: Any, seed: int, steps: int) -> tuple[LlamaForCausalLM, float]:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.1)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / warm) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * s / steps)))
    )
    loss = torch.zeros(())
    with bar("build the tiny model", steps) as advance:
        for step, batch in zip(range(steps), _batches(tokenizer, seed), strict=False):
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            advance(1, f"loss {loss.item():.3f}" if step % 10 == 0 else "")
    return model.eval(), loss.item()


def _batches(tokenizer: Any, seed: int) -> Iterator[dict[str, torch.Tensor]]:
    """Padded batches of documents, without end."""
    generator = random.Random(seed)
    known = keys("a", "train")
    ids: dict[str, list[int]] = {}

    def encoded(text: str) -> list[int]:
        if text not in ids:
            ids[text] = tokenizer(text)["input_ids"]
        return ids[text]

    while True:
        documents = []
        for _ in range(BATCH):
            key = generator.choice(known)
            languages = list(LANGUAGES)
            generator.shuffle(languages)
            tokens: list[int] = []
            labels: list[int] = []
            for language in languages if generator.random() < PAIRS else languages[:1]:
                name = function_name(str(generator.random()))
                shown = tokenizer(prompt(key, language, name))["input_ids"]
                written = [*encoded(body(key, language)), tokenizer.eos_token_id]
                tokens += shown + written
                labels += [IGNORED] * len(shown) + written
            documents.append((tokens, labels))
        longest = max(len(tokens) for tokens, _ in documents)
        pad = tokenizer.pad_token_id
        yield {
            "input_ids": torch.tensor([t + [pad] * (longest - len(t)) for t, _ in documents]),
            "attention_mask": torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t, _ in documents]),
            "labels": torch.tensor([x + [IGNORED] * (longest - len(x)) for _, x in documents]),
        }
