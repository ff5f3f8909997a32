"""Training against TRL's `SFTTrainer` as its documentation configures LoRA: supervised tokens a second, loss, memory.

    python benchmarks/training.py compare --data DIR [--steps 40] [--seeds 3] [--checkpointing]
    python benchmarks/training.py memory --data DIR       peak memory, each side in a process of its own
    python benchmarks/training.py where --data DIR        where a step's time goes, against the matmul floor

MBPP's training split (`DIR/mbpp.jsonl`) as prompt and completion, batch 4, max_length 512, the packaged tiny tokenizer.
The model has random weights: on a CPU a Llama of 8 layers, hidden size 512, vocabulary 32,000, in float32; on a GPU the
shape of Code Llama 7B in bfloat16. Both sides train the same LoRA (recipe defaults, no dropout, so that random numbers
do not differ) from the same values on the same batches, with the same optimizer, schedule and checkpointing. They take
turns, seed by seed; ratios are medians over the seeds. On a CPU times are processor time of one thread.

FLOPs are those of the model on its useful tokens, whatever a side computes: 4 for each weight and token (forward, and
backward through frozen weights), 6 for each value of the factors, 4 for each weight of the head and supervised token,
6 x hidden size x length^2 for causal attention in each layer. Utilisation is their rate over that of a matrix product
as large as the MLP's, measured in the same run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, LlamaConfig, TrainerCallback, TrainerControl, TrainerState
from trl import SFTConfig, SFTTrainer

from flexlora import models
from flexlora.adapters import add_lora, lora_pairs
from flexlora.data.mixture import load_examples
from flexlora.recipe import Recipe, from_dict
from flexlora.training.stage import make_trainer, tokens_of, training_arguments
from fourier import CODE_LLAMA_7B

GPU = torch.cuda.is_available()
SMALL = {
    "vocab_size": 32000,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}
WARM = 3
"""First steps that are not timed."""
LAST = 10
"""Steps whose mean is the final loss."""
SIDES = ("TRL", "FLeX")


def build() -> Any:
    """The model with random weights, the same every time."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if GPU else torch.float32)
    with torch.device("cuda" if GPU else "cpu"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**(CODE_LLAMA_7B if GPU else SMALL)))
    torch.set_default_dtype(torch.float32)
    return model


def recipe_of(options: argparse.Namespace, seed: int) -> Recipe:
    """FLeX's side, and what TRL's has in common with it."""
    return from_dict(
        {
            "model": "tiny",  # for its tokenizer
            "data_dir": str(options.data),
            "data": [{"dataset": "mbpp"}],
            "tasks": ["humaneval"],
            "precision": "bfloat16" if GPU else "float32",
            "lora": {"dropout": 0.0},
            "train": {
                "max_steps": options.steps,
                "batch_size": 4,
                "max_length": 512,
                "gradient_checkpointing": options.checkpointing,
                "spectrum_steps": None,
                "save_steps": 10 * options.steps,
                "logging_steps": 10,
            },
            "seed": seed,
        }
    )


def trainer_of(side: str, recipe: Recipe, folder: Path) -> Any:
    """A trainer that has not begun."""
    tokenizer = models.load_tokenizer(recipe.source("tiny"))
    ours = training_arguments(recipe, folder)
    ours.set_save(strategy="no")
    if side == "FLeX":
        with patch.object(models, "load_model", lambda *_: build()):
            tokens = tokens_of(recipe, recipe.data, tokenizer)
            return make_trainer(recipe, tokenizer, args=ours, train=tokens, validation=[])
    examples, _ = load_examples(recipe.data, recipe.data_dir, recipe.seed)
    same = ("max_steps", "learning_rate", "lr_scheduler_type", "gradient_checkpointing", "bf16", "use_cpu", "seed")
    return SFTTrainer(
        model=add_lora(build(), recipe.lora, seed=recipe.seed),
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            max_length=512,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=GPU,
            **{name: getattr(ours, name) for name in same},
        ),
        train_dataset=Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in examples]),
        processing_class=tokenizer,
    )


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Times the steps after the first few, and keeps their batches' figures and losses."""

    def __init__(self, trainer: Any) -> None:
        self.losses: list[torch.Tensor] = []
        self.supervised: list[int] = []
        self.lengths: list[list[int]] = []
        self.seconds = 0.0
        self.started = 0.0
        fetch, step = trainer.get_batch_samples, trainer.training_step

        def fetched(*args: Any) -> Any:
            samples, items = fetch(*args)
            self.supervised += [int((batch["labels"][:, 1:] != -100).sum()) for batch in samples]
            self.lengths += [_lengths(batch) for batch in samples]
            return samples, items

        def stepped(*args: Any) -> Any:
            loss = step(*args)
            self.losses.append(loss)
            return loss

        trainer.get_batch_samples, trainer.training_step = fetched, stepped
        trainer.add_callback(self)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start and stop the clock."""
        if state.global_step == WARM:
            self.started = now()
        if state.global_step == state.max_steps:
            self.seconds = now() - self.started


def _lengths(batch: Any) -> list[int]:
    return list(batch["document_lengths"]) if "document_lengths" in batch else batch["attention_mask"].sum(1).tolist()


def now() -> float:
    """Seconds: of this thread on a CPU, of the clock once a GPU is done."""
    if not GPU:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def model_flops(trainer: Any, watch: Watch) -> float:
    """Of the timed steps."""
    base = trainer.model.get_base_model()
    config = base.config
    factors = sum(pair.A.numel() + pair.B.numel() for pair in lora_pairs(trainer.model))
    head = base.get_output_embeddings().weight.numel()
    frozen = sum(p.numel() for p in base.parameters()) - factors - head - base.get_input_embeddings().weight.numel()
    tokens = sum(sum(lengths) for lengths in watch.lengths[WARM:])
    squares = sum(length**2 for lengths in watch.lengths[WARM:] for length in lengths)
    attention = 6 * config.hidden_size * squares * config.num_hidden_layers
    return float((4 * frozen + 6 * factors) * tokens + 4 * head * sum(watch.supervised[WARM:]) + attention)


def matmul_rate() -> float:
    """FLOPs a second of the product of a batch with the MLP's matrix, the best of several."""
    shape = CODE_LLAMA_7B if GPU else SMALL
    dtype, device = (torch.bfloat16, "cuda") if GPU else (torch.float32, "cpu")
    rows, inner, outer = 700, shape["hidden_size"], shape["intermediate_size"]
    x, w = torch.randn(rows, inner, dtype=dtype, device=device), torch.randn(inner, outer, dtype=dtype, device=device)
    taken = []
    for _ in range(20):
        started = now()
        for _ in range(10):
            x @ w
        taken.append(now() - started)
    return 10 * 2 * rows * inner * outer / min(taken)


def trained(side: str, options: argparse.Namespace, seed: int) -> tuple[Any, Watch]:
    """Train one side."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(side, recipe_of(options, seed), Path(folder))
        watch = Watch(trainer)
        trainer.train()
    return trainer, watch


def compare(options: argparse.Namespace) -> None:
    """Both sides in turns."""
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    useful: dict[str, list[float]] = {side: [] for side in SIDES}
    losses: dict[str, list[float]] = {side: [] for side in SIDES}
    for seed in range(options.seeds):
        seen = []
        for side in SIDES if seed % 2 == 0 else SIDES[::-1]:
            trainer, watch = trained(side, options, seed)
            rates[side].append(sum(watch.supervised[WARM:]) / watch.seconds)
            useful[side].append(model_flops(trainer, watch) / watch.seconds)
            losses[side].append(float(torch.stack(watch.losses[-LAST:]).mean()))
            seen.append((watch.supervised, watch.lengths))
        assert seen[0] == seen[1], "the sides saw other batches"
    floor = matmul_rate()
    padding = statistics.mean(len(lengths) * max(lengths) / sum(lengths) for lengths in watch.lengths) - 1
    print(f"padding of the padded batches, over useful tokens: {padding:.0%}; matmul {floor / 1e9:.1f} GFLOP/s\n")
    print("| side | supervised tokens/s | seed by seed | ratio | final loss, seed by seed | model-FLOPs utilisation |")
    print("|---|---|---|---|---|---|")
    for side in SIDES:
        ratio = statistics.median(mine / theirs for mine, theirs in zip(rates[side], rates["TRL"], strict=True))
        print(
            f"| {side} | {statistics.median(rates[side]):.0f} | {', '.join(f'{rate:.0f}' for rate in rates[side])} | "
            f"{ratio:.2f} | "
            f"{', '.join(f'{loss:.4f}' for loss in losses[side])} | {statistics.median(useful[side]) / floor:.0%} |"
        )


def memory(options: argparse.Namespace) -> None:
    """Each side in a process of its own."""
    print("| side | peak, MB | above the loaded model, MB |\n|---|---|---|")
    for side in SIDES:
        command = [sys.executable, __file__, "peak", "--side", side, "--data", str(options.data), "--steps", "8"]
        command += ["--checkpointing"] * options.checkpointing
        total, above = subprocess.check_output(command, text=True).split()[-2:]
        print(f"| {side} | {total} | {above} |")


def peak(options: argparse.Namespace) -> None:
    """One row of `memory`."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(options.side, recipe_of(options, 0), Path(folder))
        before = _held()
        trainer.train()
    print(f"{_held():.0f} {_held() - before:.0f}")


def _held() -> float:
    """Most megabytes so far; of a GPU, what torch holds of it, that of graphs included."""
    if GPU:
        return torch.cuda.max_memory_reserved() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def where(options: argparse.Namespace) -> None:
    """The operations that a few steps' time goes to."""
    activities = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * GPU
    for side in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            options.steps = 8
            trainer = trainer_of(side, recipe_of(options, 0), Path(folder))
            with torch.profiler.profile(activities=activities) as profile:
                trainer.train()
        print(f"\n{side}")
        print(profile.key_averages().table(sort_by=f"self_{'cuda' if GPU else 'cpu'}_time_total", row_limit=25))


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "compare": compare,
    "memory": memory,
    "peak": peak,
    "where": where,
}


def main() -> None:
    """Choose what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    models.quiet()
    torch.set_num_threads(1)
    COMMANDS[options.what](options)


if __name__ == "__main__":
    main()
