"""The three lines in other people's loops: the same weights as in a plain loop."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from flexlora.adapters import lora_pairs
from flexlora.fourier import FourierPenalty
from training.test_mixin import factors, make_model

ACCUMULATION, CLIP, LEARNING_RATE = 2, 0.3, 1e-2
ROWS = list(torch.randint(50, (8, 12), generator=torch.Generator().manual_seed(2)))
OPTIONS: dict[str, Any] = {"lam": 0.5, "view": "delta"}


def quiet_model() -> Any:
    """Without dropout, so that only the loop could differ."""
    model = make_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def plain() -> list[torch.Tensor]:
    model = quiet_model()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    penalty = FourierPenalty(model, **OPTIONS)
    for number, ids in enumerate(ROWS, start=1):
        (model(input_ids=ids[None], labels=ids[None]).loss / ACCUMULATION).backward()
        if number % ACCUMULATION == 0:
            penalty.add_gradient()
            torch.nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            optimizer.zero_grad()
    return factors(model)


def by_accelerate() -> list[torch.Tensor]:
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATION, cpu=True)
    model = quiet_model()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(ROWS, batch_size=1))
    penalty = FourierPenalty(model, **OPTIONS)
    for ids in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(input_ids=ids, labels=ids).loss)
            if accelerator.sync_gradients:
                penalty.add_gradient()
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
    return factors(model)


class Module(lightning.LightningModule):
    """The model in Lightning's loop."""

    def __init__(self) -> None:
        super().__init__()
        self.model = quiet_model()
        self.penalty = FourierPenalty(self.model, **OPTIONS)

    def training_step(self, ids: torch.Tensor, index: int) -> torch.Tensor:
        return self.model(input_ids=ids, labels=ids).loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.penalty.add_gradient()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=LEARNING_RATE)


def by_lightning() -> list[torch.Tensor]:
    module = Module()
    lightning.Trainer(
        max_epochs=1,
        accumulate_grad_batches=ACCUMULATION,
        gradient_clip_val=CLIP,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(ROWS, batch_size=1))
    return factors(module.model)


@pytest.mark.parametrize("loop", [by_accelerate, by_lightning])
def test_a_loop_gives_the_weights_of_the_plain_one(loop: Any) -> None:
    assert list(lora_pairs(quiet_model()))
    for found, expected in zip(loop(), plain(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
