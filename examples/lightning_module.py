"""A LightningModule: the hook before the optimizer's step comes after accumulation and before clipping.

Under fp16 Lightning has unscaled the gradients by then, so no scale is passed.
"""

import sys
from typing import Any

import lightning
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.fourier import FourierPenalty
from flexlora.tiny import TINY_MODEL

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 8


class Coder(lightning.LightningModule):
    """Causal language modelling with LoRA and the penalty."""

    def __init__(self, path: str) -> None:
        super().__init__()
        base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"])
        self.model = get_peft_model(base, config)

    def training_step(self, ids: torch.Tensor, index: int) -> torch.Tensor:
        """The loss of one micro-batch."""
        loss: torch.Tensor = self.model(input_ids=ids, labels=ids).loss
        return loss

    def on_fit_start(self) -> None:
        """Lightning has placed and wrapped the model by now."""
        self.penalty = FourierPenalty(self.model, lam=0.02)
        self.before = self.penalty.measure().high_frequency_share.item()

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Once per optimizer step."""
        self.penalty.add_gradient()

    def configure_optimizers(self) -> Any:
        """AdamW on the adapter."""
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=2e-4)


tokenizer = AutoTokenizer.from_pretrained(MODEL)
loader = DataLoader([tokenizer(text, return_tensors="pt")["input_ids"][0] for text in TEXTS], batch_size=1)
module = Coder(MODEL)
trainer = lightning.Trainer(
    max_epochs=1,
    accumulate_grad_batches=2,
    gradient_clip_val=1.0,
    accelerator="auto",
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(module, loader)
after = module.penalty.measure().high_frequency_share.item()
print(f"{trainer.global_step} steps: high-frequency share {module.before:.4f} -> {after:.4f}")
