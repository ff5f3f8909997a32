"""What the penalty costs, against the obvious implementation and against the training step it joins.

    python benchmarks/fourier.py alone [--repeats 5]      the penalty alone, on the factors of Code Llama 7B
    python benchmarks/fourier.py memory                   its extra memory on a CPU
    python benchmarks/fourier.py growth PLOT.png          over rank and width, with a plot
    python benchmarks/fourier.py step [--small]           a whole optimizer step with and without it; 7B on a GPU

Code Llama 7B at r = 8, MLP: 192 factors, 11.6 million values, float32. The obvious implementation is autograd of the
RFFT of every flattened factor, once per micro-batch, as a notebook would write it. Weights are random; nothing is
downloaded. On a CPU the times are processor time of one thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from flexlora.adapters import add_lora, lora_pairs
from flexlora.fourier import FourierPenalty, multiplicity
from flexlora.recipe import Lora

GPU = torch.cuda.is_available()
CODE_LLAMA_7B = {
    "vocab_size": 32016,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
SMALL = {
    "vocab_size": 2000,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}


def factors_of(shape: dict[str, int], rank: int = 8) -> torch.nn.Module:
    """The model on the meta device, with real factors."""
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(LlamaConfig(**shape))
        model: torch.nn.Module = add_lora(base, Lora(rank=rank, targets="mlp"))
    torch.manual_seed(0)
    for module in model.modules():
        for factors in (getattr(module, "lora_A", {}), getattr(module, "lora_B", {})):
            for linear in factors.values():
                values = torch.randn(linear.weight.shape, device="cuda" if GPU else "cpu")
                linear.weight = torch.nn.Parameter(values / 64)
    return model


class Notebook:
    """Autograd of the formula, factor by factor; the masks are at hand, as they would be."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.factors = [factor for pair in lora_pairs(model) for factor in (pair.A, pair.B)]
        self.masks = {
            n: (multiplicity(n) * (torch.arange(n // 2 + 1) * 2 / n > 0.5)).float().to(self.factors[0].device)
            for n in {factor.numel() for factor in self.factors}
        }

    def loss(self) -> torch.Tensor:
        """lambda R with its graph."""
        total = torch.zeros((), device=self.factors[0].device)
        for factor in self.factors:
            flat = factor.reshape(-1).float()
            total = total + (self.masks[len(flat)] * torch.fft.rfft(flat, norm="ortho").abs().square()).sum()
        return 0.02 * total

    def __call__(self) -> None:
        """Its gradient."""
        torch.autograd.backward(self.loss())


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run to warm up: of one thread of the processor, or until the GPU is done."""
    taken = []
    for _ in range(repeats + 1):
        if GPU:
            torch.cuda.synchronize()
            started = time.perf_counter()
            work()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
        else:
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


def alone(repeats: int) -> None:
    """The penalty without a model around it."""
    model = factors_of(CODE_LLAMA_7B)
    taken = {"notebook: autograd of the RFFT": seconds(Notebook(model), repeats)}
    for view in ("factors", "rows", "delta"):
        taken[f"FourierPenalty, {view}"] = seconds(FourierPenalty(model, lam=0.02, view=view).add_gradient, repeats)
    permuted = FourierPenalty(model, lam=0.02, control="permuted")
    taken["FourierPenalty, factors, permuted"] = seconds(permuted.add_gradient, repeats)
    pair = next(iter(lora_pairs(model)))
    update = pair.B.detach() @ pair.A.detach()
    taken["explicit 2-D FFT of every update (one, times 96)"] = 96 * seconds(lambda: torch.fft.rfft2(update), repeats)
    ours = taken["FourierPenalty, factors"]
    print("| work | median s | of `factors` |\n|---|---|---|")
    for name, one in taken.items():
        print(f"| {name} | {one:.4f} | {one / ours:.2f} |")


def memory() -> None:
    """Peak of resident memory above what the factors and their gradients take, each in a process of its own."""
    largest = 4 * 96 * 8 * 11008 / 2**20  # 64 B of gate and up, 32 A of down
    print(f"largest group of factors: {largest:.0f} MiB\n\n| work | extra MiB | of the largest group |\n|---|---|---|")
    for name in ("notebook", "factors", "rows", "delta"):
        extra = float(subprocess.check_output([sys.executable, __file__, "peak", "--view", name], text=True))
        print(f"| {name} | {extra:.0f} | {extra / largest:.2f} |")


def peak(view: str) -> None:
    """One row of `memory`."""
    model = factors_of(CODE_LLAMA_7B)
    for pair in lora_pairs(model):
        for factor in (pair.A, pair.B):
            factor.grad = torch.zeros_like(factor)
    work: Callable[[], object] = Notebook(model)
    if view != "notebook":
        work = FourierPenalty(model, lam=0.02, view=view).add_gradient  # type: ignore[arg-type]  # a command-line word
    torch.fft.irfft(torch.fft.rfft(torch.randn(4, 64)))  # the library's own start
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = status("VmRSS")
    work()
    print((status("VmHWM") - before) / 1024)


def status(key: str) -> int:
    """A figure of this process's memory in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def growth(plot: Path, repeats: int) -> None:
    """Seconds per update over rank (width 4096) and width (rank 8), for a layer's three updates."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, name, values in (
        (axes[0], "rank", (4, 8, 16, 32, 64)),
        (axes[1], "width", (1024, 2048, 4096, 8192, 16384)),
    ):
        print(f"\n| {name} | " + " | ".join(map(str, values)) + " |\n|---|" + "---|" * len(values))
        for view in ("factors", "rows", "delta"):
            taken = []
            for value in values:
                width, rank = (4096, value) if name == "rank" else (value, 8)
                shape = {**CODE_LLAMA_7B, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 4}
                penalty = FourierPenalty(factors_of(shape, rank), lam=0.02, view=view)
                taken.append(1000 * seconds(penalty.add_gradient, repeats))
            print(f"| {view}, ms | " + " | ".join(f"{one:.2f}" for one in taken) + " |")
            axis.loglog(values, taken, marker="o", label=view)
        reference = [taken[0] * value / values[0] for value in values]
        axis.loglog(values, reference, color="grey", linestyle=":", label="linear")
        axis.set(xlabel=name, ylabel="ms, 12 updates", xticks=values, xticklabels=values)
        axis.minorticks_off()
        axis.legend()
    figure.savefig(plot, dpi=120)


def step(small: bool, repeats: int) -> None:
    """A whole optimizer step, batch 4 x 512, with nothing added, with the penalty, and with the notebook's loss."""
    if not small and not GPU:
        raise SystemExit("a step of the 7B model needs a GPU, and none is visible here; --small runs a model of 5M")
    device, dtype = ("cuda", torch.bfloat16) if GPU else ("cpu", torch.float32)
    config = LlamaConfig(**(SMALL if small else CODE_LLAMA_7B))
    torch.set_default_dtype(dtype)
    with torch.device(device):
        base = AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(torch.float32)
    model: Any = add_lora(base, Lora(rank=8, targets="mlp", dropout=0.0))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    ids = torch.randint(config.vocab_size, (4, 512), device=device)
    notebook = Notebook(model)

    def one(before_backward: Callable[[], Any] = lambda: 0.0, after: Callable[[], object] = lambda: None) -> None:
        (model(input_ids=ids, labels=ids).loss + before_backward()).backward()
        after()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    works: dict[str, Callable[[], object]] = {"nothing added": one}
    for view in ("factors", "rows", "delta"):
        penalty = FourierPenalty(model, lam=0.02, view=view)
        works[f"FourierPenalty, {view}"] = partial(one, after=penalty.add_gradient)
    works["notebook"] = partial(one, before_backward=notebook.loss)
    # In turns, so that a machine that slows down slows all of them.
    rounds = [{name: seconds(work, 1) for name, work in works.items()} for _ in range(repeats)]
    base_s = statistics.median(taken["nothing added"] for taken in rounds)
    print(f"median step {base_s:.4f} s\n\n| step | added to a step without penalty |\n|---|---|")
    for name in list(works)[1:]:
        added = statistics.median(taken[name] - taken["nothing added"] for taken in rounds)
        print(f"| {name} | {1000 * added:.2f} ms, {100 * added / base_s:.2f} % |")


def main() -> None:
    """Choose what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("alone", "memory", "peak", "growth", "step"))
    parser.add_argument("plot", nargs="?", type=Path, default=Path("fourier.png"))
    parser.add_argument("--view", default="factors")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "growth":
        growth(options.plot, options.repeats)
    elif options.what == "peak":
        peak(options.view)
    elif options.what == "memory":
        memory()
    elif options.what == "step":
        step(options.small, options.repeats)
    else:
        alone(options.repeats)


if __name__ == "__main__":
    main()
