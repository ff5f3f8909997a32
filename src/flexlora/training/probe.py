"""Two real optimizer steps on the longest batches, thrown away: what would fail after hours fails in seconds.

They find memory that does not suffice, numbers that are none, an adapter that does not move, and labels that are lost
on the way to the batches. Nothing of them stays: the probe has a model, an optimizer and a folder of its own, and
random generators are put back, so that the training after it is, to the last bit, the one without it.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flexlora import models, processes
from flexlora.adapters import lora_pairs
from flexlora.errors import FlexError
from flexlora.fourier.parameters import whole
from flexlora.progress import bar
from flexlora.recipe import Recipe
from flexlora.training.divergence import Diverged
from flexlora.training.engines import refuse_engines
from flexlora.training.memory import explained_memory
from flexlora.training.peak_memory import peak_gb, reset_peak
from flexlora.training.scaling import SkippedSteps
from flexlora.training.stage import (
    ShowProgress,
    make_trainer,
    planned_steps,
    supervised_per_step,
    tokens_of,
    training_arguments,
)
from flexlora.training.tokens import IGNORED, Tokens
from flexlora.training.trainer import FourierTrainer

STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the probe steps of an arm came to."""

    longest: int
    """Tokens of the longest example."""
    losses: tuple[float, ...]
    """Of each step."""
    peak_gb: float | None
    """Most GPU memory that was allocated, in 10^9 bytes; None on a CPU."""
    unmoved: tuple[str, ...]
    """Adapted modules whose B did not change, as experts that no token reached; not all of them, which is refused."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def words(self) -> str:
        """One line."""
        said = f"loss {', '.join(f'{loss:.3f}' for loss in self.losses)} on the longest batches ({self.longest} tokens)"
        said += "" if self.peak_gb is None else f", {self.peak_gb:.2f} GB of GPU memory"
        if self.unmoved:
            said += f"; {len(self.unmoved)} adapted modules did not move, e.g. {self.unmoved[0]}"
        return said


def probe_steps(recipe: Recipe, label: str = "probe", base: Any = None) -> Probe:
    """Take two optimizer steps of an arm's training, and a validation batch, and throw them away.

    Steps that a gradient scaler skips (float16), or whose learning rate is 0, do not count.

    Args:
        recipe: the arm's recipe (`Recipe.arm`).
        label: shown beside the progress bar.
        base: the recipe's model, already loaded (`models.load_model`); it is given back as it was. None loads it, as
            for a sharded training, which leaves nothing to give back.

    Raises:
        UsageError: model, data or options are wrong.
        FlexError: training would fail; says how, and what to change.
    """
    processes.join()
    refuse_engines()
    models.quiet()
    with _randomness_kept(), tempfile.TemporaryDirectory(prefix="flexlora-probe-") as folder:
        try:
            return _probe(recipe, Path(folder), label, base)
        finally:
            models.free_memory()


def _probe(recipe: Recipe, folder: Path, label: str, base: Any) -> Probe:
    train = recipe.train
    attention = None if base is None else base.config._attn_implementation
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    every = tokens_of(recipe, recipe.data, tokenizer)
    chosen = longest(every, STEPS * train.batch_size * train.gradient_accumulation_steps)
    validation = tokens_of(recipe, recipe.validation, tokenizer) if recipe.validation else []
    args = training_arguments(recipe, folder)
    args.max_steps = planned_steps(train, len(every))  # so that the learning rate rises as it will
    args.train_sampling_strategy = "sequential"
    args.set_save(strategy="no")
    args.set_evaluate(strategy="no")
    args.set_logging(strategy="steps", steps=1, report_to=[])
    reset_peak()
    with explained_memory(recipe), bar(label, min(STEPS, args.max_steps)) as advance:
        trainer = make_trainer(
            recipe,
            tokenizer,
            args=args,
            train=chosen,
            validation=longest(validation, train.batch_size) if validation else [],
            callbacks=[ShowProgress(advance)],
            base=base,
            supervised=supervised_per_step(train, every),
        )
        trainer.add_callback(StopAfter(STEPS, trainer))
        check_batches(trainer, chosen, tokenizer)
        before = {pair.module: whole(pair.B).clone() for pair in lora_pairs(trainer.model)}
        try:
            trainer.train()
        except Diverged as error:
            raise FlexError(
                f"before training, in steps on the longest batches: {error.what}. {error.remedy[0].upper()}"
                f"{error.remedy[1:]}."
            ) from error
        if validation:
            trainer.evaluate()
    unmoved = check_moved(trainer, before)
    if base is not None:
        given_back = trainer.model.unload()
        given_back.set_attn_implementation(attention)
        given_back.gradient_checkpointing_disable()
        given_back.disable_input_require_grads()
    return Probe(
        longest=len(chosen[0].input_ids),
        losses=tuple(line["loss"] for line in trainer.state.log_history if "loss" in line),
        peak_gb=peak_gb() if torch.cuda.is_available() else None,
        unmoved=unmoved,
    )


def longest(tokens: Sequence[Tokens], count: int) -> list[Tokens]:
    """The `count` longest examples, the longest first; again from the start where there are fewer."""
    ordered = sorted(tokens, key=lambda item: len(item.input_ids), reverse=True)
    return list(islice(cycle(ordered), count))


def check_batches(trainer: FourierTrainer, tokens: Sequence[Tokens], tokenizer: Any) -> None:
    """The batches hold every supervised token of their examples, the EOS tokens among them.

    A collator that masks by the padding token would take the EOS tokens out where the two are one.

    Raises:
        FlexError: they do not.
    """
    eos = tokenizer.eos_token_id
    labels = [batch["labels"] for batch in trainer.get_train_dataloader()]
    found = sum(processes.gathered(sum(int((part != IGNORED).sum()) for part in labels)))
    ends = sum(processes.gathered(sum(int((part == eos).sum()) for part in labels)))
    expected = sum(item.supervised for item in tokens)
    expected_ends = sum(item.labels.count(eos) for item in tokens)
    if ends < expected_ends:
        why = ", as it is the padding token too" if tokenizer.pad_token_id == eos else ""
        raise FlexError(
            f"training: of {expected_ends} EOS tokens ({tokenizer.eos_token!r}) that the loss should be taken on, the "
            f"batches mask {expected_ends - ends}{why}; the model would not learn to stop. Set tokenizer.pad_token to "
            "another token."
        )
    if found != expected:
        raise FlexError(
            f"training: the batches take the loss on {found} tokens, and their examples have {expected} to learn from. "
            "Are the installed versions of trl and transformers those that FLeX names?"
        )


def check_moved(trainer: FourierTrainer, before: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """The adapted modules whose B is what it was.

    Raises:
        FlexError: all of them.
    """
    after = {pair.module: whole(pair.B) for pair in lora_pairs(trainer.model)}
    unmoved = tuple(module for module, B in after.items() if torch.equal(B.to(before[module].device), before[module]))
    if len(unmoved) == len(before):
        raise FlexError(
            f"training: after {trainer.state.global_step} optimizer steps the adapter has not moved: B of all "
            f"{len(unmoved)} adapted modules is what it was, e.g. {unmoved[0]}. Does the loss depend on these modules "
            f"(lora.targets), and is the learning rate (now {trainer.args.learning_rate:g}, after "
            f"{trainer.args.warmup_steps:g} steps of warm-up) large enough to be seen in their precision?"
        )
    return unmoved


class StopAfter(SkippedSteps):
    """Ends a training after so many steps that may move the adapter, whatever was planned."""

    def __init__(self, steps: int, trainer: FourierTrainer) -> None:
        super().__init__(trainer)
        self.left = steps

    def on_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Called by the trainer after the optimizer's step, or the scaler's skipping it, and before the next rate."""
        moves = any(group["lr"] > 0 for group in optimizer.param_groups)
        self.left -= moves and not self.skipped

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step."""
        if self.left <= 0:
            control.should_training_stop = True


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Put the generators of Python, NumPy and torch back to where they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
