"""A plain PyTorch loop with Sophia-G: one more line than with AdamW, and here the penalty beside it."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.fourier import FourierPenalty
from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.tiny import TINY_MODEL

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 8
STEPS, ACCUMULATION = 6, 2

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]))
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = SophiaG(trained, lr=2e-4, weight_decay=0.0)
curvature = GaussNewtonBartlett(optimizer, interval=3)  # 10 in a training of some length
penalty = FourierPenalty(model, lam=0.02)
before = penalty.measure().high_frequency_share.item()

texts = iter(TEXTS)
for step in range(STEPS):
    batches = []
    for _ in range(ACCUMULATION):
        ids = tokenizer(next(texts), return_tensors="pt")["input_ids"]
        batches.append({"input_ids": ids, "labels": ids, "use_cache": False})
    curvature.update(model, *batches)
    for batch in batches:
        (model(**batch).loss / ACCUMULATION).backward()
    penalty.add_gradient()  # of the step, not of the curvature
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    figures = optimizer.statistics()
    print(f"step {step}: clipped {figures['clipped_fraction']:.2f}, mean curvature {figures['h_mean']:.2e}")
after = penalty.measure().high_frequency_share.item()
print(f"high-frequency share {before:.4f} -> {after:.4f}")
