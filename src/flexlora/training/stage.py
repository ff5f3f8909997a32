"""The training stage: from an arm's recipe to `train/adapter`, resumable from `train/checkpoints`.

Files: `log.jsonl` (a line per logging step and per validation), `spectrum.jsonl` (the adapter's spectrum every so many
steps), `checkpoints/checkpoint-N`, with early stopping `best/step-N`, and `adapter/` in PEFT's own format; all are
written aside and renamed. When the adapter is there, the stage is done.
"""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig

from flexlora import models, processes
from flexlora.adapters import add_lora
from flexlora.adapters.initial import find_initial, load_initial
from flexlora.data.mixture import load_examples
from flexlora.errors import FlexError
from flexlora.files import read_appended
from flexlora.progress import Advance, bar, say
from flexlora.recipe import DataSource, Optimizer, Recipe, Train
from flexlora.training.checkpoints import last_checkpoint, step_of
from flexlora.training.divergence import KEY
from flexlora.training.early_stopping import EarlyStopping
from flexlora.training.engines import refuse_engines
from flexlora.training.log import LogFile
from flexlora.training.memory import explained_memory
from flexlora.training.padding_free import DocumentCollator, separate_documents
from flexlora.training.saving import save_adapter
from flexlora.training.sharded import shards, whole_adapter
from flexlora.training.sharing import OwnRandomness, RightEngine, empty_example, share
from flexlora.training.spectrum_log import SpectrumLog
from flexlora.training.tokens import Tokens, tokenise_all
from flexlora.training.trainer import PaddingFreeTrainer, RecipeTrainer


def train_adapter(
    recipe: Recipe, folder: Path, label: str = "train", callbacks: Sequence[TrainerCallback] = ()
) -> Path:
    """Train the adapter of one arm, or continue where a killed training stopped.

    Args:
        recipe: the arm's recipe (`Recipe.arm`).
        folder: the arm's `train` folder.
        label: shown beside the progress bar.
        callbacks: further ones; an error that one raises ends the training.

    Returns:
        The folder of the finished adapter.

    Raises:
        UsageError: model, data or options are wrong.
        FlexError: training diverged, or memory or the disk is full; what was finished is kept.
    """
    adapter = folder / "adapter"
    if processes.once(adapter.is_dir):
        return adapter
    refuse_engines()
    models.quiet()
    checkpoint = processes.once(lambda: last_checkpoint(folder / "checkpoints"))
    done = step_of(checkpoint)
    files: list[TrainerCallback] = [LogFile(folder / "log.jsonl", upto=done)] if processes.is_first() else []
    if every := recipe.train.spectrum_steps:
        files.append(SpectrumLog(folder / "spectrum.jsonl", every, recipe.penalty, upto=done))
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    train = tokens_of(recipe, recipe.data, tokenizer)
    stopping = _early_stopping(recipe.train, folder, done)
    trainer = make_trainer(
        recipe,
        tokenizer,
        args=training_arguments(recipe, folder / "checkpoints"),
        train=train,
        validation=tokens_of(recipe, recipe.validation, tokenizer) if recipe.validation else [],
        callbacks=[*([stopping] if stopping else []), *files, LogLastStep()],  # saving is no training time
    )
    total = planned_steps(recipe.train, len(train))
    with _explained(folder, recipe):
        with bar(label, total, done=done) as advance:
            for callback in (ShowProgress(advance), *callbacks):
                trainer.add_callback(callback)
            if checkpoint is not None and (done >= total or (stopping and stopping.stops)):
                _restore_finished(trainer, checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if recipe.validation:
            trainer.evaluate()  # the end of training, whatever eval_steps is
        if stopping:
            say(f"{label}: {stopping.finish(adapter, total)}")
        else:
            state = whole_adapter(trainer.model)
            processes.once(lambda: save_adapter(trainer.model, adapter, state))
    return adapter


def _early_stopping(train: Train, folder: Path, upto: int) -> EarlyStopping | None:
    """As far as it is at the checkpoint that training goes on from; None where it is not asked for."""
    if train.early_stopping is None:
        return None
    logged = processes.once(lambda: [line for line in read_appended(folder / "log.jsonl") if line["step"] <= upto])
    return EarlyStopping(folder, train.early_stopping, logged)


def make_trainer(
    recipe: Recipe,
    tokenizer: Any,
    *,
    args: SFTConfig,
    train: list[Tokens],
    validation: list[Tokens],
    callbacks: Sequence[TrainerCallback] = (),
    base: Any = None,
    supervised: float | None = None,
) -> RecipeTrainer:
    """The trainer of an arm, with the adapter that it starts from.

    Args:
        base: the model; None loads it.
        supervised: tokens that the loss is taken on in a step of the whole training, where `train` is a part of it.

    Raises:
        UsageError: the model cannot be loaded, or options do not fit it.
    """
    sharded = shards(recipe.train)
    if base is None:
        base = models.load_model(recipe.source(recipe.model), torch.device("cpu") if sharded else None)
    model = add_lora(base, recipe.lora, recipe.seed, recipe.source(recipe.model).revision)
    if recipe.lora.init_adapter is not None:
        load_initial(model, find_initial(recipe.lora.init_adapter))
    rows: dict[str, Any] = {}
    if recipe.train.padding_free:
        separate_documents(model)
        rows = {
            "data_collator": DocumentCollator(pad_token_id=tokenizer.pad_token_id),
            "cuda_graphs": recipe.train.cuda_graphs,
        }
    supervised = supervised or supervised_per_step(recipe.train, train)
    trainer = (PaddingFreeTrainer if recipe.train.padding_free else RecipeTrainer)(
        model=model,
        args=args,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(validation) if validation else None,
        processing_class=tokenizer,
        callbacks=list(callbacks),
        penalty=recipe.penalty.model_dump(),
        sophia=sophia_options(recipe.optimizer, supervised),
        sharded=sharded,
        **rows,
    )
    if processes.count() > 1 and args.train_sampling_strategy == "random":
        # Only now, as TRL leaves out examples without tokens to learn from.
        trainer.train_dataset = as_dataset([*train, empty_example(tokenizer.eos_token_id)])
    trainer.add_callback(RightEngine(trainer))
    trainer.add_callback(OwnRandomness())
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    return trainer


def _restore_finished(trainer: RecipeTrainer, checkpoint: Path) -> None:
    """Load a checkpoint of the last step: given to `train`, the trainer would take one step more."""
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.shard()
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
    batch_size, accumulation = share(train, processes.count())
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=train.batch_size,
        gradient_accumulation_steps=accumulation,
        max_length=train.max_length,
        learning_rate=optimizer.peak_learning_rate,
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
        accelerator_config={"non_blocking": models.device().type == "cuda"},
    )


def sophia_options(optimizer: Optimizer, supervised: float) -> dict[str, Any] | None:
    """What `SophiaMixin` takes besides `training_arguments`; None for another optimizer.

    Args:
        supervised: tokens that the loss is taken on, in a step.
    """
    if optimizer.name != "sophia":
        return None
    return {
        "betas": optimizer.decay_rates,
        "rho": optimizer.rho_at(supervised),
        "bias_correction": optimizer.bias_correction,
        "interval": optimizer.hessian_interval,
    }


def starts_fresh(folder: Path) -> bool:
    """Whether training in this folder would begin at step 0: there is no finished adapter and no checkpoint."""
    return not (folder / "adapter").is_dir() and last_checkpoint(folder / "checkpoints") is None


class LogLastStep(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Logs the last step whatever `logging_steps` is, so that no stretch of training goes unseen."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class ShowProgress(TrainerCallback):  # type: ignore[misc]  # transformers has no types
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


def supervised_per_step(train: Train, tokens: Sequence[Tokens]) -> float:
    """Tokens that the loss is taken on in an optimizer step, on average."""
    return sum(item.supervised for item in tokens) / steps_per_epoch(train, len(tokens))


def planned_steps(train: Train, examples: int) -> int:
    """Optimizer steps of a training on so many examples an epoch."""
    return train.max_steps or math.ceil(steps_per_epoch(train, examples) * train.epochs)
