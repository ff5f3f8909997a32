"""A plain PyTorch loop: the gradient joins the task's once per optimizer step, before clipping."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.fourier import FourierPenalty
from flexlora.tiny import TINY_MODEL

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 8
STEPS, ACCUMULATION = 6, 2

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]))
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-4)
penalty = FourierPenalty(model, lam=0.02)
before = penalty.measure().high_frequency_share.item()

texts = iter(TEXTS)
for _ in range(STEPS):
    for _ in range(ACCUMULATION):
        ids = tokenizer(next(texts), return_tensors="pt")["input_ids"]
        (model(input_ids=ids, labels=ids).loss / ACCUMULATION).backward()
    penalty.add_gradient()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
after = penalty.measure().high_frequency_share.item()
print(f"high-frequency share {before:.4f} -> {after:.4f}")
