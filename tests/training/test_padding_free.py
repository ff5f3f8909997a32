"""Rows without padding: the same losses and gradients as padded batches, and no document that sees another."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    StableLmConfig,
)
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from flexlora import models
from flexlora.adapters import add_lora
from flexlora.errors import UsageError
from flexlora.files import read_appended
from flexlora.recipe import Lora, Recipe, dumped, from_dict
from flexlora.training import supervised, train_adapter
from flexlora.training.padding_free import ATTENTION, KEEP, LENGTHS, DocumentCollator, separate_documents
from flexlora.training.tokens import IGNORED
from small_models import make_model

WIDE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WINDOW = 4
DOCUMENTS = [
    {"input_ids": tokens, "labels": [IGNORED] * masked + tokens[masked:]}
    for tokens, masked in (([5, 9, 2, 40, 7, 11, 3, 8, 20], 3), ([4, 4, 17], 1), ([31, 6, 2, 9, 1, 12], 2))
]


@pytest.fixture(autouse=True)
def quiet() -> None:
    models.quiet()


def random_model(config: Any, **options: Any) -> Any:
    """Weights large enough for attention to matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4)
    return model.eval()


def adapted(name: str, folder: Path) -> Any:
    if name == "mistral":  # whose window is shorter than the documents
        base = random_model(MistralConfig(**WIDE, sliding_window=WINDOW))
    else:
        base = AutoModelForCausalLM.from_pretrained(make_model(folder, name))
    model = add_lora(base, Lora(targets="all", dropout=0.0))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.linspace(-0.1, 0.1, p.numel()).view_as(p))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def loss_and_gradients(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Of the mean loss on supervised tokens, worked out from the logits at every position."""
    labels = batch["labels"]
    logits = model(**{k: v for k, v in batch.items() if k not in ("labels", KEEP)}, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    model.zero_grad()
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "starcoder2", "mistral"])
def test_loss_and_gradients_are_those_of_the_padded_batch(name: str, checkpointing: bool, models_dir: Path) -> None:
    model = adapted(name, models_dir / name)
    loss, gradients = loss_and_gradients(model, DataCollatorForLanguageModeling(pad_token_id=0)(DOCUMENTS))
    separate_documents(model)
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    found, found_gradients = loss_and_gradients(model, DocumentCollator(pad_token_id=0)(DOCUMENTS))
    torch.testing.assert_close(found, loss, rtol=1e-6, atol=0)
    assert gradients
    for mine, theirs in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_document_does_not_see_the_one_before(attention: str) -> None:
    model = random_model(LlamaConfig(**WIDE), attn_implementation=attention)
    separate_documents(model)
    assert model.config._attn_implementation == {"sdpa": ATTENTION}.get(attention, attention)
    other = copy.deepcopy(DOCUMENTS)
    other[0]["input_ids"] = other[0]["input_ids"][::-1]
    logits = []
    for documents in (DOCUMENTS, other):
        batch = DocumentCollator(pad_token_id=0)(documents)
        keep = [batch.pop(KEEP), batch.pop("labels")]
        assert len(keep[0]) == (keep[1] != IGNORED).sum()
        with torch.no_grad():
            logits.append(model(**batch, use_cache=False).logits[0])
    first = batch[LENGTHS][0]
    torch.testing.assert_close(logits[0][first:], logits[1][first:], rtol=1e-6, atol=1e-6)
    assert (logits[0][:first] - logits[1][:first]).abs().max() > 0.1


def test_the_first_token_of_a_document_is_predicted_by_none() -> None:
    whole = [{"input_ids": [5, 9, 2]}, {"input_ids": [4, 7]}]
    batch = DocumentCollator(pad_token_id=0)(whole)
    assert batch["labels"].tolist() == [[IGNORED, 9, 2, IGNORED, 7]]
    assert batch[KEEP].tolist() == [0, 1, 3]
    assert batch[LENGTHS] == (3, 2)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=4), "depend on the example before"),
        (MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1), "depend on the example before"),
    ],
)
def test_models_that_cannot_keep_documents_apart_are_refused(config: Any, why: str) -> None:
    with pytest.raises(UsageError, match=rf"train\.padding_free: .*{why}.*train\.padding_free=false"):
        separate_documents(random_model(config))


def test_a_model_that_does_not_hand_the_lengths_on_masks_the_whole_row() -> None:
    model = random_model(StableLmConfig(**WIDE))
    separate_documents(model)
    assert model.config._attn_implementation == "sdpa"


@pytest.fixture
def recipe(benchmark: Path, small_model: Path) -> Recipe:
    return from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "data": [{"dataset": "mbpp"}],
            "validation": [{"dataset": "mbpp", "split": "validation"}],
            "tasks": ["humaneval"],
            "lora": {"dropout": 0.0, "targets": "all"},
            "optimizer": {"learning_rate": 0.01},
            "train": {"max_steps": 6, "batch_size": 3, "max_length": 96, "logging_steps": 1, "save_steps": 6},
        }
    )


FIGURES = ("loss", "grad_norm", "mean_token_accuracy", "eval_loss", "eval_mean_token_accuracy")


def logged(recipe: Recipe, folder: Path, **train: Any) -> list[list[float]]:
    changed = from_dict({**dumped(recipe), "train": {**dumped(recipe)["train"], **train}})
    train_adapter(changed, folder)
    return [[line[name] for name in FIGURES if name in line] for line in read_appended(folder / "log.jsonl")]


def test_steps_and_validation_are_those_of_padded_batches(recipe: Recipe, tmp_path: Path) -> None:
    # Two micro-batches a step, the last of an epoch short.
    options = {"gradient_accumulation_steps": 2}
    padded = logged(recipe, tmp_path / "padded", padding_free=False, **options)
    free = logged(recipe, tmp_path / "free", **options)
    assert len(free) == 7
    for mine, theirs in zip(free, padded, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-4)


def test_more_logits_than_are_made_at_once_are_left_to_trl(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = logged(recipe, tmp_path / "once", max_steps=2)
    monkeypatch.setattr(supervised, "LARGEST", 1)
    in_tiles = logged(recipe, tmp_path / "tiles", max_steps=2)
    for mine, theirs in zip(at_once, in_tiles, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
