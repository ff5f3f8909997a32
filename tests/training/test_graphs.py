"""Steps recorded as CUDA graphs: the same losses and gradients from filled rows; what cannot be recorded goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from flexlora import models
from flexlora.adapters import add_lora
from flexlora.files import read_appended
from flexlora.recipe import Lora, from_dict
from flexlora.training import graphs, supervised, train_adapter
from flexlora.training.graphs import SMALLEST, Recorded, RowLoss, fill, longest_filling, recordable, shape_of
from flexlora.training.padding_free import KEEP, LENGTHS, DocumentCollator, separate_documents
from flexlora.training.tokens import IGNORED

ON_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="records CUDA graphs: set FLEXLORA_TEST_GPU=1 where there is a GPU")


@pytest.fixture
def model(small_model: Path) -> Any:
    models.quiet()
    adapted = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(targets="all", dropout=0.0), seed=0)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.linspace(-0.1, 0.1, p.numel()).view_as(p))
    separate_documents(adapted)
    return adapted.train()


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


@pytest.mark.parametrize("supervised_from", [2, 60])
def test_filling_a_row_changes_neither_loss_nor_gradients(model: Any, supervised_from: int) -> None:
    documents = [
        {
            "input_ids": list(range(3, 3 + n)),
            "labels": [IGNORED] * supervised_from + list(range(3, 3 + n))[supervised_from:],
        }
        for n in (70, 90)
    ]
    batch = DocumentCollator(pad_token_id=0)(documents)
    keep = batch.pop(KEEP)
    targets = batch.pop("labels")[0, keep + 1]
    logits = model(**batch, logits_to_keep=keep, use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    wanted = gradients(model, loss)

    filled = fill(batch, keep, targets, documents=4)
    assert filled[0].shape == filled[1].shape == (1, 256)
    assert filled[2].tolist() == [0, 70, 160, 160, 160, 256]
    assert len(filled[3]) == len(filled[4]) == (256 if 2 * len(keep) > 256 else 128)
    found, right = RowLoss(model, (*batch[LENGTHS], 256 - 160))(*filled)
    torch.testing.assert_close(found, loss, rtol=1e-6, atol=0)
    assert right == (logits.argmax(-1) == targets).sum()
    for mine, theirs in zip(gradients(model, found), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 20_000), st.data())
def test_few_lengths_and_none_much_longer_than_the_row(tokens: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, tokens))
    length, places = shape_of(tokens, wanted)
    assert tokens < length <= max(1.25 * tokens, tokens + SMALLEST) + 1
    assert wanted <= places <= length
    assert length - tokens <= longest_filling(length)
    octave = {shape_of(n, 0)[0] for n in range(4096, 8192)}
    assert len(octave) == 4


def train(small_model: Path, benchmark: Path, folder: Path, **train: Any) -> list[dict[str, Any]]:
    recipe = from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "data": [{"dataset": "mbpp"}],
            "validation": [{"dataset": "mbpp", "split": "validation"}],
            "tasks": ["humaneval"],
            "lora": {"dropout": 0.0, "targets": "all"},
            "optimizer": {"learning_rate": 0.01},
            "precision": "bfloat16" if ON_GPU else "float32",
            "train": {"max_steps": 6, "batch_size": 3, "max_length": 96, "logging_steps": 1, "save_steps": 6, **train},
        }
    )
    train_adapter(recipe, folder)
    return list(read_appended(folder / "log.jsonl"))


def test_what_cannot_be_recorded_is_said_and_trained_all_the_same(
    small_model: Path,
    benchmark: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    without = train(small_model, benchmark, tmp_path / "without", cuda_graphs=False)
    monkeypatch.setattr(supervised, "recordable", lambda model: True)
    monkeypatch.setattr(graphs.Recorded, "_record", fails)
    tried = train(small_model, benchmark, tmp_path / "tried")
    assert [line["loss"] for line in tried if "loss" in line] == [line["loss"] for line in without if "loss" in line]
    said = capsys.readouterr().err
    assert said.count("no CUDA graphs for a LlamaForCausalLM (operation not permitted when stream is capturing)") == 1


def test_a_model_on_a_processor_is_not_recorded(model: Any) -> None:
    assert not recordable(model)


@needs_gpu
@pytest.mark.parametrize("accumulation", [1, 2])
def test_recorded_steps_are_those_that_are_launched(
    accumulation: int, small_model: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = []
    record = Recorded._record
    monkeypatch.setattr(Recorded, "_record", lambda self, filled: recorded.append(filled) or record(self, filled))
    options = {"gradient_accumulation_steps": accumulation}
    by_graph = train(small_model, benchmark, tmp_path / "graph", **options)
    assert 1 <= len(recorded) < 6
    launched = train(small_model, benchmark, tmp_path / "launched", cuda_graphs=False, **options)
    for name in ("loss", "grad_norm", "mean_token_accuracy", "eval_loss"):
        mine, theirs = ([line[name] for line in lines if name in line] for lines in (by_graph, launched))
        assert mine == pytest.approx(theirs, rel=0.03, abs=0.02)
        assert len(mine) == len(theirs) >= 1
