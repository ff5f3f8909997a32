"""The training stage: from an arm's recipe to `train/adapter`, resumable from `train/checkpoints`.

Files: `log.jsonl` (a line per logging step and per validation), `spectrum.jsonl` (the adapter's spectrum every so many
steps), `checkpoints/checkpoint-N` (complete ones carry a marker, written after everything else, so that a checkpoint
cut short by a kill is never resumed from), `adapter/` in PEFT's own format, written aside and renamed: when it is
there, the stage is done.
"""

from __future__ import annotations

import errno
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig

from flexlora import models
from flexlora.adapters import add_lora
from flexlora.adapters.initial import find_initial, load_initial
from flexlora.data.mixture import load_examples
from flexlora.errors import FlexError
from flexlora.files import append_jsonl, read_appended, write_json, write_whole
from flexlora.progress import Advance, bar
from flexlora.recipe import DataSource, Optimizer, Recipe, Train
from flexlora.training.divergence import KEY
from flexlora.training.engines import refuse_engines
from flexlora.training.memory import explained_memory
from flexlora.training.padding_free import DocumentCollator, separate_documents
from flexlora.training.spectrum_log import SpectrumLog
from flexlora.training.tokens import Tokens, tokenise_all
from flexlora.training.trainer import FourierTrainer, PaddingFreeTrainer

MARKER = "complete"
LOGGED = (
    "loss",
    "grad_norm",
    "learning_rate",
    "mean_token_accuracy",
    "penalty",
    "high_frequency_share",
    "lam",
    "clipped_fraction",
    "h_mean",
    "h_max",
    "h_zero_fraction",
    "eval_loss",
    "eval_mean_token_accuracy",
)


def train_adapter(recipe: Recipe, folder: Path, label: str = "train") -> Path:
    """Train the adapter of one arm, or continue where a killed training stopped.

    Args:
        recipe: the arm's recipe (`Recipe.arm`).
        folder: the arm's `train` folder.
        label: shown beside the progress bar.

    Returns:
        The folder of the finished adapter.

    Raises:
        UsageError: model, data or options are wrong.
        FlexError: training diverged, or memory or the disk is full; what was finished is kept.
    """
    adapter = folder / "adapter"
    if adapter.is_dir():
        return adapter
    refuse_engines()
    models.quiet()
    checkpoint = last_checkpoint(folder / "checkpoints")
    log = LogFile(folder / "log.jsonl", upto=_step(checkpoint))
    every = recipe.train.spectrum_steps
    spectrum = [SpectrumLog(folder / "spectrum.jsonl", every, recipe.penalty, upto=_step(checkpoint))] if every else []
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    trainer = make_trainer(
        recipe,
        tokenizer,
        args=training_arguments(recipe, folder / "checkpoints"),
        train=tokens_of(recipe, recipe.data, tokenizer),
        validation=tokens_of(recipe, recipe.validation, tokenizer) if recipe.validation else [],
        callbacks=[log, *spectrum, LogLastStep(), MarkComplete()],
    )
    total = planned_steps(recipe.train, len(trainer.train_dataset))
    with _explained(folder, recipe):
        with bar(label, total, done=_step(checkpoint)) as advance:
            trainer.add_callback(ShowProgress(advance))
            if checkpoint is not None and _step(checkpoint) >= total:
                _restore_finished(trainer, checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if recipe.validation:
            trainer.evaluate()  # the end of training, whatever eval_steps is
        _save_adapter(trainer.model, adapter)
    return adapter


def make_trainer(
    recipe: Recipe,
    tokenizer: Any,
    *,
    args: SFTConfig,
    train: list[Tokens],
    validation: list[Tokens],
    callbacks: Sequence[TrainerCallback] = (),
) -> FourierTrainer:
    """The trainer of an arm, on a model loaded for it, with the adapter that it starts from.

    Raises:
        UsageError: the model cannot be loaded, or options do not fit it.
    """
    model = add_lora(models.load_model(recipe.source(recipe.model)), recipe.lora, seed=recipe.seed)
    if recipe.lora.init_adapter is not None:
        load_initial(model, find_initial(recipe.lora.init_adapter))
    rows: dict[str, Any] = {}
    if recipe.train.padding_free:
        separate_documents(model)
        rows = {"data_collator": DocumentCollator(pad_token_id=tokenizer.pad_token_id)}
    trainer = (PaddingFreeTrainer if recipe.train.padding_free else FourierTrainer)(
        model=model,
        args=args,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(validation) if validation else None,
        processing_class=tokenizer,
        callbacks=list(callbacks),
        penalty=recipe.penalty.model_dump(),
        sophia=sophia_options(recipe.optimizer),
        **rows,
    )
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    return trainer


def _restore_finished(trainer: FourierTrainer, checkpoint: Path) -> None:
    """Load a checkpoint of the last step: given to `train`, the trainer would take one step more."""
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


@contextmanager
def _explained(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Say in our words what the libraries raise when memory or the disk is full."""
    try:
        with explained_memory(recipe):
            yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full or shutil.disk_usage(folder).free < 1 << 20:  # torch only says that it could not write
            raise FlexError(
                f"{folder}: the disk is full. What was finished is kept; free some space and run the same command "
                "again."
            ) from error
        raise


def training_arguments(recipe: Recipe, folder: Path) -> SFTConfig:
    """A recipe's training options in the words of TRL."""
    train, optimizer = recipe.train, recipe.optimizer
    dtype = models.dtype_of(recipe.precision)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=train.batch_size,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        max_length=train.max_length,
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        adam_beta1=optimizer.decay_rates[0],
        adam_beta2=optimizer.decay_rates[1],
        adam_epsilon=optimizer.epsilon,
        optim="adamw_torch_fused",
        lr_scheduler_type=train.scheduler if not (train.scheduler == "constant" and train.warmup_steps) else _WARM,
        warmup_steps=train.warmup_steps,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=train.gradient_checkpointing,
        bf16=dtype is models.DTYPES["bfloat16"],
        fp16=dtype is models.DTYPES["float16"],
        use_cpu=models.device().type == "cpu",
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,  # it would hide a diverging run
        eval_strategy="steps" if recipe.validation else "no",
        eval_steps=train.eval_steps,
        save_strategy="steps",
        save_steps=train.save_steps,
        save_total_limit=2,  # the one before the last stays valid while the last is written
        report_to=list(train.report_to),
        seed=recipe.seed,
        dataloader_pin_memory=models.device().type == "cuda",
    )


def sophia_options(optimizer: Optimizer) -> dict[str, Any] | None:
    """What `SophiaMixin` takes besides `training_arguments`; None for another optimizer."""
    if optimizer.name != "sophia":
        return None
    return {
        "betas": optimizer.decay_rates,
        "rho": optimizer.rho,
        "bias_correction": optimizer.bias_correction,
        "interval": optimizer.hessian_interval,
    }


def starts_fresh(folder: Path) -> bool:
    """Whether training in this folder would begin at step 0: no adapter is finished and no checkpoint complete."""
    return not (folder / "adapter").is_dir() and not any((folder / "checkpoints").glob(f"checkpoint-*/{MARKER}"))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; ones that a kill cut short are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=_step)
    for path in [path for path in found if not (path / MARKER).exists()]:
        shutil.rmtree(path)
        found.remove(path)
    return found[-1] if found else None


class LogFile(TrainerCallback):  # type: ignore[misc]
    """Appends what the trainer logs to `log.jsonl`; on resume, lines after the checkpoint are taken back first."""

    def __init__(self, path: Path, upto: int) -> None:
        self.path = path
        self.started = time.monotonic()
        records = [record for record in read_appended(path) if record["step"] <= upto]
        self.written = {(record["step"], "eval_loss" in record) for record in records}
        if path.exists():
            write_whole(path, "".join(json.dumps(record) + "\n" for record in records))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Called by the trainer with training figures, validation figures, or the final summary (left out)."""
        figures = {key: logs[key] for key in LOGGED if key in logs}
        kind = (state.global_step, "eval_loss" in logs)
        if not figures or kind in self.written or not ({"loss", "eval_loss"} & figures.keys()):
            return
        self.written.add(kind)
        elapsed = round(time.monotonic() - self.started, 3)
        append_jsonl(self.path, {"step": state.global_step, "epoch": state.epoch, **figures, "wall_s": elapsed})


class LogLastStep(TrainerCallback):  # type: ignore[misc]
    """Logs the last step whatever `logging_steps` is, so that no stretch of training goes unseen."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class MarkComplete(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as complete, after the trainer has written all of it."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after a checkpoint."""
        write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARKER, {"step": state.global_step})


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Moves the progress bar."""

    def __init__(self, advance: Callable[..., None] | Advance) -> None:
        self.advance = advance
        self.note = ""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step."""
        self.advance(1, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Called by the trainer with figures."""
        if "loss" in logs:
            self.note = f"loss {float(logs['loss']):.3f}"


_WARM = "constant_with_warmup"


def tokens_of(recipe: Recipe, sources: Sequence[DataSource], tokenizer: Any) -> list[Tokens]:
    """The examples of an arm's training or validation data as tokens, in their order."""
    examples, _ = load_examples(sources, recipe.data_dir, recipe.seed)
    return tokenise_all(examples, tokenizer, recipe.train.max_length)[0]


def as_dataset(tokens: list[Tokens]) -> datasets.Dataset:
    """Tokenised examples as TRL takes them: with `input_ids` there, it prepares nothing itself."""
    return datasets.Dataset.from_dict(
        {
            KEY: [item.key for item in tokens],
            "input_ids": [item.input_ids for item in tokens],
            "labels": [item.labels for item in tokens],
        }
    )


def steps_per_epoch(train: Train, examples: int) -> int:
    """Optimizer steps of one pass over so many examples; the last may be of fewer batches."""
    return math.ceil(math.ceil(examples / train.batch_size) / train.gradient_accumulation_steps)


def planned_steps(train: Train, examples: int) -> int:
    """Optimizer steps of a training on so many examples an epoch."""
    return train.max_steps or math.ceil(steps_per_epoch(train, examples) * train.epochs)


def _save_adapter(model: Any, adapter: Path) -> None:
    """Write PEFT's files aside, then rename: a kill leaves no half adapter."""
    aside = adapter.with_name(".adapter.partial")
    if aside.exists():
        shutil.rmtree(aside)
    model.save_pretrained(aside)
    aside.rename(adapter)


def _step(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1])
