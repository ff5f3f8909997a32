"""What Sophia-G costs against AdamW: the optimizer's step, a whole training step, and the memory of its state.

    python benchmarks/optimizers.py step [--repeats 15]      the step alone, on the factors of Code Llama 7B
    python benchmarks/optimizers.py whole [--repeats 15]     whole training steps; a small model on a CPU, 7B on a GPU

The curvature is estimated every 10 steps, and that is part of the whole step. The optimizers take turns within one
process, and ratios are medians over these rounds, so that a machine that slows down slows all. The factors are those of
r = 8, MLP: 192 factors, 11.6 million values, float32. Weights are random; nothing is downloaded. On a CPU the times are
processor time of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from flexlora.adapters import add_lora
from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.recipe import Lora
from fourier import CODE_LLAMA_7B, SMALL

GPU = torch.cuda.is_available()
INTERVAL = 10
TOKENS = 2048


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


def whole(repeats: int) -> None:
    """Rounds of 10 training steps each, batch 4 x 512, every label supervised."""
    device, dtype = ("cuda", torch.bfloat16) if GPU else ("cpu", torch.float32)
    config = LlamaConfig(**(CODE_LLAMA_7B if GPU else SMALL))
    torch.set_default_dtype(dtype)
    with torch.device(device):
        base = AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(torch.float32)
    model: Any = add_lora(base, Lora(rank=8, targets="mlp", dropout=0.0))
    trained = [p for p in model.parameters() if p.requires_grad]
    ids = torch.randint(config.vocab_size, (4, TOKENS // 4), device=device)
    batch = {"input_ids": ids, "labels": ids, "use_cache": False}

    def train(optimizer: torch.optim.Optimizer, curvature: GaussNewtonBartlett | None) -> None:
        for _ in range(INTERVAL):
            if curvature is not None:
                curvature.update(model, batch)
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    adamw = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    sophia = SophiaG(trained, lr=1e-6)
    curvature = GaussNewtonBartlett(sophia, INTERVAL)
    taken = in_turns({"AdamW, fused": lambda: train(adamw, None), "SophiaG": lambda: train(sophia, curvature)}, repeats)
    print(f"| whole step, k = {INTERVAL} | ms | of fused AdamW |\n|---|---|---|")
    for name, times in taken.items():
        milliseconds = 1000 * statistics.median(times) / INTERVAL
        print(f"| {name} | {milliseconds:.1f} | {ratio(times, taken['AdamW, fused']):.3f} |")


def main() -> None:
    """Choose what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "whole"))
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (step if options.what == "step" else whole)(options.repeats)


if __name__ == "__main__":
    main()
