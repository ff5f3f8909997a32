"""TRL's `DPOTrainer`: preferences, with a penalty on what departs from the adapter's first values."""

import sys

from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from flexlora.tiny import TINY_MODEL
from flexlora.training import FourierMixin

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
ROWS = [
    {
        "prompt": "# Add two numbers.\n",
        "chosen": "def add(a, b):\n    return a + b\n",
        "rejected": "def add(a, b):\n    return a - b\n",
    },
    {
        "prompt": "# Double a number.\n",
        "chosen": "def double(x):\n    return 2 * x\n",
        "rejected": "def double(x):\n    return x\n",
    },
] * 8


class FourierDPOTrainer(FourierMixin, DPOTrainer):
    """The mixin comes first."""


trainer = FourierDPOTrainer(
    model=MODEL,
    args=DPOConfig(
        output_dir="runs/trl-dpo",
        max_steps=4,
        per_device_train_batch_size=2,
        learning_rate=2e-4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=False,
    ),
    train_dataset=Dataset.from_list(ROWS),
    peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]),
    penalty={"lam": 0.02, "view": "rows", "reference": "init"},
)
trainer.train()
print(f"penalised in {type(trainer).__name__}, lambda {trainer.fourier.lam}")
