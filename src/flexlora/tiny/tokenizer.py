"""The tiny model's tokenizer: byte-level BPE of 1,024 tokens."""

from __future__ import annotations

import itertools

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from flexlora.tiny.corpus import documents

VOCABULARY = 1024
DOCUMENTS = 10_000
"""Documents that the merges are learned from."""


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Learn a tokenizer from documents of the corpus.

    Digits stand one by one and newlines by themselves, so that a prompt and its body, tokenised apart, are the tokens
    of the whole.
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
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        example.prompt + example.completion
        for document in itertools.islice(documents(seed), DOCUMENTS)
        for example in document
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
