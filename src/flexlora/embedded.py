"""Builds the embedded model from nothing: data, tokenizer, weights, their evaluation, and the model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from flexlora import models, pipeline, recipe
from flexlora.embedded_card import MADE, model_card, results_of
from flexlora.errors import UsageError
from flexlora.files import write_whole
from flexlora.tiny import TINY_MODEL
from flexlora.tiny.pretraining import Plan, pretrain
from flexlora.tiny.tokenizer import make_tokenizer
from flexlora.version import __version__

CARD = "README.md"
WEIGHTS = "model.safetensors"
STATE = "state.pt"


def build(output: Path, plan: Plan, limit: int | None = None) -> str:
    """Train and evaluate the model, in a folder that transformers can load; going on where an earlier call stopped.

    The weights are there once training has ended; the card comes last, after the evaluation in `output`/evaluation.

    Args:
        limit: evaluate on the first so many problems of each set only.

    Returns:
        The card's results, in Markdown.

    Raises:
        UsageError: `output` is something else, or of another plan, or the evaluation cannot be done here; nothing was
            started.
    """
    _refuse_others(output, plan)
    base = recipe.load("tiny-base")
    tasks = tuple(task.model_copy(update={"limit": limit}) for task in base.tasks)
    run = base.model_copy(update={"model": str(output.resolve()), "tasks": tasks})
    evaluation = output / "evaluation"
    recorded = evaluation / "recipe.yaml"
    other = recorded.is_file() and recipe.from_dict(recipe.read_yaml(recorded)) != run
    if other or not (output / CARD).is_file():
        if not (output / "config.json").is_file():
            pipeline.start(base, evaluation)  # would the evaluation start at all?
            _train(output, plan)
        (output / STATE).unlink(missing_ok=True)
        pipeline.run_recipe(run, evaluation, overwrite=other)
        write_whole(output / CARD, model_card(output, evaluation))
    return results_of((output / CARD).read_text())


def same_weights(one: Path, other: Path = TINY_MODEL) -> bool:
    """Whether two model folders hold the same weights, bit for bit."""
    return (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def _refuse_others(output: Path, plan: Plan) -> None:
    if not output.exists():
        return
    config = output / "config.json"
    made = json.loads(config.read_bytes()).get(MADE) if config.is_file() else None
    if made is None:
        raise UsageError(f"{output}: exists, and was not built by this command; choose another --output.")
    if (built := Plan(**made["plan"])) != plan:
        raise UsageError(f"{output}: holds a model of {built}, not of {plan}; choose another --output.")


def _train(output: Path, plan: Plan) -> None:
    aside = output.with_name(f".{output.name}.partial")
    aside.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(plan.seed)
    model, loss = pretrain(tokenizer, plan, models.device(), aside / STATE)
    made = {
        "plan": asdict(plan),
        "parameters": model.num_parameters(),
        "loss": round(loss, 4),
        "version": __version__,
        "torch": torch.__version__,
        "device": models.device().type,
        "threads": torch.get_num_threads(),
    }
    setattr(model.config, MADE, made)
    model.half().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.rename(output)
