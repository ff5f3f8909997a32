"""Models as the variants of a run: the base, with an arm's adapter on top at a strength or merged, and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from flexlora import models
from flexlora.adapters import load_adapter
from flexlora.adapters.strength import set_strength
from flexlora.folder import Evaluation, RunFolder
from flexlora.recipe import strength_of

T = TypeVar("T")


def with_models(
    run: RunFolder, pending: Sequence[tuple[Evaluation, list[T]]], work: Callable[[Any, Any, Evaluation, list[T]], None]
) -> None:
    """Do some work by every variant that is pending; weights are loaded as seldom as can be, one model at a time.

    Args:
        work: (model, tokenizer, variant, what is pending for it); keeps no reference to the model.
    """
    for group in _by_model(pending):
        models.quiet()
        source = run.recipe.source(group[0][0].model)
        tokenizer, model = models.load_tokenizer(source), models.load_model(source)
        for item, wanted in group:
            model = _as_variant(run, model, item)
            work(model, tokenizer, item, wanted)
        del model
        models.free_memory()


def _by_model(pending: Sequence[tuple[Evaluation, list[T]]]) -> Iterator[list[tuple[Evaluation, list[T]]]]:
    """Groups that share one load of weights: the base with all unmerged adapters, each merged arm, each baseline.

    In the first group the base comes first, before any adapter is put on it.
    """
    groups: dict[tuple[str, str | None, bool], list[tuple[Evaluation, list[T]]]] = {}
    for item, wanted in pending:
        merged = item.variant == "merged"
        groups.setdefault((item.model, item.arm if merged else None, merged), []).append((item, wanted))
    yield from groups.values()


def _as_variant(run: RunFolder, model: Any, item: Evaluation) -> Any:
    """The loaded model as a variant: with the arm's adapter on top or merged, or as it is."""
    if item.arm is None:
        return model
    adapter = run.adapter(item.arm)
    # PEFT's name for it: an arm may be called what a module attribute is, or have a dot in its name.
    name = f"arm{run.recipe.arm_names().index(item.arm)}"
    if item.variant == "merged":
        # Already merged for an earlier task of this group: PEFT's wrapper is gone, our mark is there.
        if not getattr(model, "flexlora_merged", False):
            model = load_adapter(model, adapter).merge_and_unload()
            model.flexlora_merged = True
        return model
    if not hasattr(model, "peft_config"):
        model = load_adapter(model, adapter, name=name)
    elif name not in model.peft_config:
        model.load_adapter(adapter, adapter_name=name)
    if name not in model.active_adapters:
        model.set_adapter(name)
    set_strength(model, name, strength_of(item.variant))
    return model
