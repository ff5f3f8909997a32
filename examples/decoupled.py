"""A plain PyTorch loop with the decoupled penalty: the factors shrink after the step, as in AdamW's weight decay."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

from flexlora.fourier import FourierPenalty
from flexlora.tiny import TINY_MODEL

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 4
PEAK = 2e-4

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]))
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=PEAK)
scheduler = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=len(TEXTS))
penalty = FourierPenalty(model, lam=0.01, coupling="decoupled")  # not the lambda of coupling "loss"
before = penalty.measure().high_frequency_share.item()

for text in TEXTS:
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    penalty.decay(scheduler.get_last_lr()[0] / PEAK)
    scheduler.step()
    optimizer.zero_grad()
after = penalty.measure().high_frequency_share.item()
print(f"high-frequency share {before:.4f} -> {after:.4f}")
