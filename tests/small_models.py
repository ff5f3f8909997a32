"""Small random models of several families, made on the spot as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

FAMILIES = ("llama", "qwen2", "starcoder2", "gpt2")
TEXT = [
    'def double(x):\n    """Double x."""\n    return 2 * x\n',
    "Write a function to add numbers.\nassert add(1) == 2\n",
    "class Problem {\n    // Double x.\n    public static long twice(long x) {\n        return x * 2;\n    }\n",
    "for i in range(10):\n    if i % 2 == 0:\n        total += i\nprint(total)\n",
]


def make_tokenizer(eos: bool = True, pad: bool = True) -> Any:
    """A byte-level BPE tokenizer that can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    special = {"eos_token": "</s>"} if eos else {}
    special |= {"pad_token": "<pad>"} if pad else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def make_model(folder: Path, family: str, context: int = 1024, width: int = 32, **tokenizer: bool) -> Path:
    """Save a random model of a family with its tokenizer; the same values every time."""
    words = make_tokenizer(**tokenizer)
    size = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    wide = {
        **size,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
    }
    torch.manual_seed(0)
    model = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**wide)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**wide)),
        "starcoder2": lambda: Starcoder2ForCausalLM(Starcoder2Config(**wide)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**size, n_embd=width, n_layer=2, n_head=4, n_positions=context)),
    }[family]()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
