"""An Accelerate loop, on one process or several: `torchrun --nproc_per_node 2 examples/accelerate_loop.py MODEL`.

Build the penalty after `prepare`, which may replace the parameters (FSDP2).
"""

import sys

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.fourier import FourierPenalty
from flexlora.tiny import TINY_MODEL

MODEL = sys.argv[1] if sys.argv[1:] else TINY_MODEL
TEXTS = ["def add(a, b):\n    return a + b\n", "def double(x):\n    return 2 * x\n"] * 8

accelerator = Accelerator(gradient_accumulation_steps=2)
tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"]))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
rows = [tokenizer(text, return_tensors="pt")["input_ids"][0] for text in TEXTS]
loader = DataLoader(rows, batch_size=1)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
penalty = FourierPenalty(model, lam=0.02)
before = penalty.measure().high_frequency_share.item()

for ids in loader:
    with accelerator.accumulate(model):
        accelerator.backward(model(input_ids=ids, labels=ids).loss)
        if accelerator.sync_gradients:  # the last micro-batch of an optimizer step; under DDP after the all-reduce
            penalty.add_gradient(scale=accelerator.scaler.get_scale() if accelerator.scaler else 1.0)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
after = penalty.measure().high_frequency_share.item()
accelerator.print(
    f"{accelerator.num_processes} process(es), {type(model).__name__}: high-frequency share {before:.4f} -> {after:.4f}"
)
accelerator.end_training()
