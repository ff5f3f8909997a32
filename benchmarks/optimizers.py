"""What Sophia-G costs against AdamW: the optimizer's step, a whole training step, and the memory of its state.

    python benchmarks/optimizers.py step [--repeats 15]      the step alone, on the factors of Code Llama 7B
    python benchmarks/optimizers.py whole [--repeats 15]     whole training steps; a small model on a CPU, 7B on a GPU
    python benchmarks/optimizers.py peak sophia              the most memory of one of them (`whole` starts it itself)

Whole steps have TRL's loss, which works out no logits, as a recipe's training has; all but the optimizer is the same on
both sides. The curvature is estimated every 10 steps, and that is part of the whole step. The optimizers take turns
within one process, and ratios are medians over these rounds, so that a machine that slows down slows all. Peaks are of
a process of their own: of the GPU's memory, or above what was resident before the first step. The factors are those of
r = 8, MLP: 192 factors, 11.6 million values, float32. Weights are random; nothing is downloaded. On a CPU the times are
processor time of one thread.
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
from trl.trainer.utils import add_fused_lm_head

from flexlora.adapters import add_lora
from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.recipe import Lora
from fourier import CODE_LLAMA_7B, SMALL, status

GPU = torch.cuda.is_available()
INTERVAL = 10
TOKENS = 2048
NAMES = {"adamw": "AdamW, fused", "sophia": "SophiaG"}


def seconds(work: Callable[[], object]) -> float:
    """Of one thread of the processor, or until the GPU is done."""
    if not GPU:
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, round by round, after two rounds to warm up."""
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats + 2)]
    return {name: [taken[name] for taken in rounds[2:]] for name in works}


def ratio(taken: list[float], base: list[float]) -> float:
    """Median over the rounds."""
    return statistics.median(mine / theirs for mine, theirs in zip(taken, base, strict=True))


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Of all tensors that an optimizer keeps, AdamW's step counters aside."""
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if value.numel() > 1
    )


def factors() -> list[torch.nn.Parameter]:
    """The factors of Code Llama 7B, with gradients."""
    with torch.device("meta"):
        model = add_lora(AutoModelForCausalLM.from_config(LlamaConfig(**CODE_LLAMA_7B)), Lora(rank=8, targets="mlp"))
    shapes = [p.shape for p in model.parameters() if p.requires_grad]
    torch.manual_seed(0)
    device = "cuda" if GPU else "cpu"
    made = [torch.nn.Parameter(torch.randn(shape, device=device) / 64) for shape in shapes]
    for p in made:
        p.grad = torch.randn_like(p) / 100
    return made


def step(repeats: int) -> None:
    """The optimizer's step alone, with and without weight decay."""
    print("| optimizer | weight decay | ms | of fused AdamW | state, MB |\n|---|---|---|---|---|")
    for decay in (0.0, 0.1):
        fused = torch.optim.AdamW(factors(), lr=1e-4, weight_decay=decay, fused=True)
        foreach = torch.optim.AdamW(factors(), lr=1e-4, weight_decay=decay, foreach=True)
        sophia = SophiaG(factors(), lr=1e-4, weight_decay=decay)
        sophia.update_hessian(TOKENS)
        works: dict[str, Callable[[], object]] = {
            "AdamW, fused": fused.step,
            "AdamW, foreach": foreach.step,
            "SophiaG": sophia.step,
            "its update of h": lambda sophia=sophia: sophia.update_hessian(TOKENS),  # type: ignore[misc]  # a default
        }
        taken = in_turns(works, repeats)
        taken[f"SophiaG, with its update of h every {INTERVAL}"] = [
            a + b / INTERVAL for a, b in zip(taken["SophiaG"], taken["its update of h"], strict=True)
        ]
        sizes = {"AdamW, fused": fused, "AdamW, foreach": foreach, "SophiaG": sophia}
        for name, times in taken.items():
            size = f"{state_bytes(sizes[name]) / 1e6:.1f}" if name in sizes else ""
            compared = ratio(times, taken["AdamW, fused"])
            print(f"| {name} | {decay} | {1000 * statistics.median(times):.1f} | {compared:.2f} | {size} |")


class Training:
    """Batches of 4 x 512, every label supervised; steps with one optimizer or the other."""

    def __init__(self) -> None:
        device, dtype = ("cuda", torch.bfloat16) if GPU else ("cpu", torch.float32)
        config = LlamaConfig(**(CODE_LLAMA_7B if GPU else SMALL))
        torch.set_default_dtype(dtype)
        with torch.device(device):
            base = AutoModelForCausalLM.from_config(config)
        torch.set_default_dtype(torch.float32)
        add_fused_lm_head(base)
        self.model: Any = add_lora(base, Lora(rank=8, targets="mlp", dropout=0.0))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        ids = torch.randint(config.vocab_size, (4, TOKENS // 4), device=device)
        self.batch = {"input_ids": ids, "labels": ids, "use_cache": False}

    def rounds(self, name: str) -> Callable[[], None]:
        """Does as many steps as there are from one estimate to the next."""
        if name == "adamw":
            return partial(self.train, torch.optim.AdamW(self.trained, lr=1e-6, fused=True), None)
        optimizer = SophiaG(self.trained, lr=1e-6)
        return partial(self.train, optimizer, GaussNewtonBartlett(optimizer, INTERVAL))

    def train(self, optimizer: torch.optim.Optimizer, curvature: GaussNewtonBartlett | None) -> None:
        for _ in range(INTERVAL):
            if curvature is not None:
                curvature.update(self.model, self.batch)
            self.model(**self.batch, fused_lm_head=True).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()


def whole(repeats: int) -> None:
    """Rounds of 10 training steps each."""
    training = Training()
    taken = in_turns({name: training.rounds(name) for name in NAMES}, repeats)
    print(f"| whole step, k = {INTERVAL} | ms | of fused AdamW | peak, MB |\n|---|---|---|---|")
    for name, times in taken.items():
        milliseconds = 1000 * statistics.median(times) / INTERVAL
        command = [sys.executable, __file__, "peak", name]
        most = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        print(f"| {NAMES[name]} | {milliseconds:.1f} | {ratio(times, taken['adamw']):.3f} | {most} |")


def peak(name: str) -> None:
    """Print the most memory of two rounds, in MB."""
    train = Training().rounds(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory starts from here
    before = status("VmRSS")
    train()
    train()
    print(f"{torch.cuda.max_memory_allocated() / 1e6 if GPU else (status('VmHWM') - before) * 1024 / 1e6:.0f}")


def main() -> None:
    """Choose what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "whole", "peak"))
    parser.add_argument("name", nargs="?", choices=tuple(NAMES), default="sophia", help="for peak")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "peak":
        peak(options.name)
    else:
        (step if options.what == "step" else whole)(options.repeats)


if __name__ == "__main__":
    main()
