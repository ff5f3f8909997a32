"""The penalty alone, on the factors of Code Llama 7B (r = 8, MLP: 192 factors, 11.6 million values, float32).

Against the obvious implementation, autograd of the RFFT of every flattened factor, as a notebook would write it; and
`delta` against an explicit 2-D FFT of one update, times their number. No model is loaded. Run:
python benchmarks/fourier.py [REPEATS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from flexlora.adapters import add_lora, lora_pairs
from flexlora.fourier import FourierPenalty, multiplicity
from flexlora.recipe import Lora


def factors_of_7b() -> torch.nn.Module:
    """The model on the meta device, with real factors."""
    config = LlamaConfig(
        vocab_size=32016, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        model: torch.nn.Module = add_lora(AutoModelForCausalLM.from_config(config), Lora(rank=8, targets="mlp"))
    torch.manual_seed(0)
    for module in model.modules():
        for factors in (getattr(module, "lora_A", {}), getattr(module, "lora_B", {})):
            for linear in factors.values():
                linear.weight = torch.nn.Parameter(torch.randn(linear.weight.shape) / 64)
    return model


def notebook(factors: list[torch.nn.Parameter], masks: dict[int, torch.Tensor]) -> None:
    """Autograd of the formula, factor by factor; the masks are at hand, as they would be."""
    total = torch.zeros(())
    for factor in factors:
        flat = factor.reshape(-1)
        total = total + (masks[len(flat)] * torch.fft.rfft(flat, norm="ortho").abs().square()).sum()
    torch.autograd.backward(0.02 * total)


def median(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run to warm up."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    """Time each and print a table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    model = factors_of_7b()
    pairs = list(lora_pairs(model))
    factors = [factor for pair in pairs for factor in (pair.A, pair.B)]
    masks = {
        n: (multiplicity(n) * (torch.arange(n // 2 + 1) * 2 / n > 0.5)).float() for n in {f.numel() for f in factors}
    }
    seconds = {"notebook: autograd of the RFFT": median(lambda: notebook(factors, masks), repeats)}
    for view in ("factors", "rows", "delta"):
        penalty = FourierPenalty(model, lam=0.02, view=view)
        seconds[f"FourierPenalty, {view}"] = median(penalty.add_gradient, repeats)
    one = pairs[0].B.detach() @ pairs[0].A.detach()
    seconds["explicit 2-D FFT of every update (one, times 96)"] = 96 * median(lambda: torch.fft.rfft2(one), repeats)
    base = seconds["FourierPenalty, factors"]
    print("| work | median s | of `factors` |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.3f} | {taken / base:.2f} |")


if __name__ == "__main__":
    main()
