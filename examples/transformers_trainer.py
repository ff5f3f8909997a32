"""`transformers.Trainer` with the penalty on the merged update."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from flexlora.tiny import TINY_MODEL
from flexlora.training import FourierMixin

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 8


class FourierTrainer(FourierMixin, Trainer):
    """The mixin comes first."""


tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
torch.manual_seed(0)  # the Trainer sets its seed later, when the adapter's first weights are drawn
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]))
rows = [tokenizer(text)["input_ids"] for text in TEXTS]
trainer = FourierTrainer(
    model=model,
    args=TrainingArguments(
        output_dir="runs/transformers-trainer",
        max_steps=6,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        learning_rate=2e-4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    ),
    train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    penalty={"lam": 0.02, "view": "delta"},
)
trainer.train()
print(f"penalised in {type(trainer).__name__}, lambda {trainer.fourier.lam}")
