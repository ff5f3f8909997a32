"""TRL's `SFTTrainer` with a penalty whose lambda moves so that the high-frequency share goes to 30 %."""

import sys

from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from flexlora.tiny import TINY_MODEL
from flexlora.training import FourierMixin

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
ROWS = [
    {"prompt": "# Add two numbers.\n", "completion": "def add(a, b):\n    return a + b\n"},
    {"prompt": "# Double a number.\n", "completion": "def double(x):\n    return 2 * x\n"},
] * 8


class FourierSFTTrainer(FourierMixin, SFTTrainer):
    """The mixin comes first."""


trainer = FourierSFTTrainer(
    model=MODEL,
    args=SFTConfig(
        output_dir="runs/trl-sft",
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=2e-4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
    ),
    train_dataset=Dataset.from_list(ROWS),
    peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]),
    penalty={"lam": 0.02, "schedule": "target", "target": 0.3},
)
trainer.train()
print(f"penalised in {type(trainer).__name__}, lambda is now {trainer.fourier.lam:.4f}")
