"""Everything that can be checked before the long work starts, checked: data, models, targets, toolchains, sizes.

`check` collects all problems and raises them together; what it returns, a `Plan`, says what the run will do, and is
what `--dry-run` prints. No weights are read: models are built on the meta device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, Unpack

import torch

from flexlora import execution, models, processes, serving
from flexlora.adapters import add_lora, resolve_targets, trainable_parameters
from flexlora.adapters.initial import check_initial, find_initial
from flexlora.capabilities import require
from flexlora.data import Problem, Text
from flexlora.data.mixture import load_examples
from flexlora.data.tasks import load_problems, refuse_trained
from flexlora.data.texts import load_texts
from flexlora.decontamination import overlap_of, trained_before
from flexlora.errors import UsageError
from flexlora.execution import Executor, How
from flexlora.execution.languages import ToolchainMissing, toolchain
from flexlora.folder import RunFolder
from flexlora.fourier import FourierPenalty
from flexlora.generation import encode
from flexlora.jobs import questions
from flexlora.nf4 import require_bitsandbytes, require_whole_blocks, weight_bytes
from flexlora.plan import ArmPlan, Plan, adapter_in_words, methods_in_words, optimizer_in_words, penalty_in_words
from flexlora.recipe import Optimizer, Recipe, Task, Train
from flexlora.selection import ask_for_tests
from flexlora.training.engines import refuse_engines
from flexlora.training.sharded import shards
from flexlora.training.sharing import share
from flexlora.training.stage import planned_steps, steps_per_epoch, supervised_per_step
from flexlora.training.tokens import IGNORED, Tokens, tokenise_all

P = ParamSpec("P")
T = TypeVar("T")


class _Problems:
    """Runs checks and keeps what they complain about, so that all complaints come at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return check(*args, **kwargs)
        except UsageError as error:
            if str(error) not in self.found:
                self.found.append(str(error))
            return None

    def raise_if_any(self) -> None:
        if len(self.found) == 1:
            raise UsageError(self.found[0])
        if self.found:
            raise UsageError("nothing was started:\n" + "\n".join(f"- {problem}" for problem in self.found))


def check(run: RunFolder, executes: bool = True, generates: bool = True, **how: Unpack[How]) -> Plan:
    """Check everything that a run needs, and plan it.

    Args:
        executes: whether programs are to be run; if not, no sandbox and no toolchains are needed.
        generates: whether completions are to be made; if not, no server is needed.
        how: how they are, as in `flexlora.execution.execute`.

    Raises:
        UsageError: something is missing or wrong; all problems are listed.
    """
    models.quiet()
    recipe = run.recipe
    problems = _Problems()
    problems.attempt(_processes, recipe)
    problems.attempt(refuse_engines)
    dtype = problems.attempt(models.dtype_of, recipe.precision)
    if recipe.quantization:
        problems.attempt(require_bitsandbytes)
    style = recipe.prompting.style
    of_task = [(task, problems.attempt(load_problems, task, recipe.data_dir, style)) for task in recipe.tasks]
    found = [one for _, one in of_task if one]
    loaded = [task for task, _ in found]
    written = [problems.attempt(_tests, run, task) for task, one in of_task if one]
    texts = [
        of_name[0]
        for source in recipe.likelihood.texts
        if (of_name := problems.attempt(load_texts, source, recipe.data_dir))
    ]
    if executes and recipe.tasks:
        problems.attempt(partial(_can_run, **how), {task[0].language for task in loaded})
    problems.attempt(_places_differ, run)
    problems.attempt(_trackers_known, recipe)
    if recipe.engine.is_remote and generates:
        problems.attempt(serving.check_pending, run, loaded)
    base = None
    for name in filter(recipe.is_local, (recipe.model, *recipe.baselines)):
        model = problems.attempt(_model, recipe, name)
        base = model if name == recipe.model else base
        tokenizer = problems.attempt(models.load_tokenizer, recipe.source(name))
        if model is not None and tokenizer is not None:
            for prompts in (*loaded, *filter(None, written)):
                problems.attempt(_prompts_fit, prompts, model[0], tokenizer, name)
    for arm in recipe.arm_names():
        problems.attempt(_shards, run, arm)
    planned = [problems.attempt(_plan_arm, recipe, arm, base, [*loaded, *texts]) for arm in recipe.arm_names()]
    arms = [plan for plan in planned if plan is not None]
    problems.raise_if_any()
    assert base is not None or not recipe.is_local(recipe.model)
    assert dtype is not None
    evaluations = run.evaluations()
    per_task = {task[0].task: len(task) for task in loaded}
    language_of = {task[0].task: task[0].language for task in loaded}
    programs: dict[str, int] = {}
    for evaluation in evaluations:
        language = language_of[evaluation.task.name]
        programs[language] = programs.get(language, 0) + per_task[evaluation.task.name] * recipe.sampling.n
    return Plan(
        name=recipe.name,
        model=recipe.model,
        engine=serving.in_words(run),
        parameters=None if base is None else _parameters(base[0]),
        weights_gb=base and (weight_bytes(base[0], dtype) if recipe.quantization else base[1]) / 1e9,
        device=str(models.device()),
        dtype=str(dtype).removeprefix("torch."),
        quantization=recipe.quantization,
        arms=[plan for plan, _ in arms],
        tasks=per_task,
        completions=sum(programs.values()),
        programs=programs,
        overlap=overlap_of(recipe),
        notes=[note for _, origin in found for note in origin.notes],
        texts={group[0].task: len(group) for group in texts},
        methods=methods_in_words(recipe),
        example=_shown(arms[0][1], models.load_tokenizer(recipe.source(recipe.model))) if arms else {},
    )


def _can_run(languages: set[str], **how: Unpack[How]) -> None:
    """`execution.require`, which also says how to leave out a language whose toolchain is missing."""
    try:
        execution.require(languages, **how)
    except UsageError as error:
        missing = sorted(filter(_missing, languages)) if how.get("executor") != Executor.RAY else []
        if not missing:
            raise
        without = " and ".join(f"'!*/{language}'" for language in missing)
        raise UsageError(
            f"{error}\nOr evaluate without: {without} in `tasks` (or by --tasks) leaves them out."
        ) from error


def _missing(language: str) -> bool:
    try:
        toolchain(language)
    except ToolchainMissing:
        return True
    return False


def _places_differ(run: RunFolder) -> None:
    places: dict[str, str] = {}
    for item in (*run.evaluations(), *run.likelihoods()):
        if places.get(item.path, item.model) != item.model:
            raise UsageError(
                f"baselines: {item.model!r} and {places[item.path]!r} would share the folder {item.path}; name one of "
                "them by another path."
            )
        places[item.path] = item.model


def _tests(run: RunFolder, task: Task) -> list[Problem]:
    """What the model is given to write tests for a task; nothing where no method of selection needs any."""
    if not run.recipe.selection.writes_tests:
        return []
    chat = run.recipe.prompting.style.startswith("chat")
    return [ask_for_tests(asked, chat) for asked in questions(task, run).values()]


def _supported(of_arm: Recipe) -> None:
    """Refuse what the capability matrix does, as far as a recipe says it."""
    require(
        "recipe",
        optimizer=of_arm.optimizer.name,
        adapter=of_arm.lora.kind,
        device=models.device().type,
        precision=str(models.dtype_of(of_arm.precision)).removeprefix("torch."),
        quantisation=of_arm.quantization or "none",
        kernels="eager",
        parallelism=_parallelism(of_arm.train),
        view=of_arm.penalty.view,
    )


def _parallelism(train: Train) -> str:
    """Of a training that is to come, or was."""
    if processes.count() == 1:
        return "one process"
    return "DDP" if train.sharding == "none" else "FSDP2"


def _shards(run: RunFolder, arm: str) -> None:
    """Refuse to shard over one process, where there is something to train."""
    if not run.adapter(arm).is_dir():
        shards(run.recipe.arm(arm).train)


def _trackers_known(recipe: Recipe) -> None:
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for arm in recipe.arm_names():
        for tracker in recipe.arm(arm).train.report_to:
            if tracker not in INTEGRATION_TO_CALLBACK:
                known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
                raise UsageError(f"train.report_to: transformers knows no tracker {tracker!r}; it knows {known}.")
            if tracker not in get_available_reporting_integrations():
                raise UsageError(
                    f"train.report_to: {tracker} is not installed; `pip install {tracker}`, or leave it out."
                )


def _processes(recipe: Recipe) -> None:
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no":
        require("recipe", "ACCELERATE_DYNAMO_BACKEND is set", kernels="torch.compile")
    gpus = torch.cuda.device_count()
    if processes.count() == 1 and gpus > 1 and any(map(recipe.is_local, (recipe.model, *recipe.baselines))):
        raise UsageError(
            f"{gpus} GPUs are visible, and one process uses one; start one for each (`torchrun --nproc_per_node {gpus} "
            "-m flexlora ...`), or set CUDA_VISIBLE_DEVICES to one of them."
        )


def _model(recipe: Recipe, name: str) -> tuple[Any, int]:
    """A model's skeleton and the bytes of its weights."""
    source = recipe.source(name)
    model = models.skeleton(source)
    if not models.keeps_cache(model):
        raise UsageError(
            f"model {name!r}: a {type(model).__name__} keeps no key-value cache, which FLeX generates with; "
            "state-space models are not supported."
        )
    if quantised := getattr(model.config, "quantization_config", None):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        require("recipe", f"model {name!r} is quantised ({method})", quantisation="other")
    if source.quantization:
        require_whole_blocks(model, models.device(), name)
    return model, models.check_weights(source)


def _prompts_fit(task: Sequence[Problem], model: Any, tokenizer: Any, name: str) -> None:
    limit = models.context_length(model)
    longest, length = max(((problem.task_id, len(encode(tokenizer, problem))) for problem in task), key=lambda p: p[1])
    if limit is not None and length >= limit:
        raise UsageError(
            f"task {task[0].task}: the prompt of {longest} has {length} tokens, and the context of {name!r} ends at "
            f"{limit}; use a model with a longer context, or a smaller limit of problems."
        )


def _penalty_fits(adapted: Any, of_arm: Recipe, steps: int) -> None:
    if of_arm.penalty.warmup_steps >= steps:
        raise UsageError(
            f"penalty.warmup_steps: {of_arm.penalty.warmup_steps} steps of rise leave none of the {steps} optimizer "
            "steps for the full penalty; lower it."
        )
    try:
        # The skeleton has no values that could be a reference.
        FourierPenalty(adapted, **of_arm.penalty.model_dump() | {"reference": "zero"})
    except ValueError as error:
        raise UsageError(f"penalty: {error}.") from error


def _plan_arm(
    recipe: Recipe, arm: str, base: tuple[Any, int] | None, tasks: Sequence[Sequence[Problem | Text]]
) -> tuple[ArmPlan, Tokens] | None:
    of_arm = recipe.arm(arm)
    examples, origins = load_examples(of_arm.data, of_arm.data_dir, of_arm.seed)
    validation, more_origins = load_examples(of_arm.validation, of_arm.data_dir, of_arm.seed)
    initial = None if of_arm.lora.init_adapter is None else find_initial(of_arm.lora.init_adapter)
    for task in tasks:
        refuse_trained(task, [*examples, *trained_before(initial)])
    _supported(of_arm)
    if base is None:
        return None  # reported already; without the model the rest cannot be known
    model = models.skeleton(recipe.source(recipe.model))
    targets = resolve_targets(model, of_arm.lora.targets)
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    share(of_arm.train, processes.count())
    tokens, left_out = tokenise_all(examples, tokenizer, of_arm.train.max_length)
    checked: list[Tokens] = []
    if validation:
        checked, left_out_of_validation = tokenise_all(validation, tokenizer, of_arm.train.max_length)
        left_out += left_out_of_validation
    limit = models.context_length(model)
    longest = max(len(item.input_ids) for item in [*tokens, *checked])
    if limit is not None and longest > limit:
        raise UsageError(
            f"train.max_length: {of_arm.train.max_length} lets an example of {longest} tokens through, and the context "
            f"of {recipe.model!r} ends at {limit}; set train.max_length={limit} or less."
        )
    total = sum(len(item.input_ids) for item in tokens)
    _ends_are_learnt(tokens, of_arm.train.max_length)
    per_epoch, steps = steps_per_epoch(of_arm.train, len(tokens)), planned_steps(of_arm.train, len(tokens))
    adapted = add_lora(model, of_arm.lora)
    if initial is not None:
        check_initial(initial, adapted, recipe.source(recipe.model))
    _penalty_fits(adapted, of_arm, steps)
    plan = ArmPlan(
        arm=arm,
        targets=targets.matches,
        adapter=adapter_in_words(of_arm.lora),
        trainable_parameters=trainable_parameters(adapted),
        init_adapter=None if initial is None else str(initial.adapter.path),
        penalty=penalty_in_words(of_arm.penalty),
        optimizer=optimizer_in_words(of_arm.optimizer, supervised_per_step(of_arm.train, tokens), steps),
        examples=len(tokens),
        cut=sum(item.cut for item in tokens),
        left_out=left_out,
        validation_examples=len(checked),
        tokens_per_epoch=total,
        supervised_tokens_per_epoch=sum(item.supervised for item in tokens),
        optimizer_steps=steps,
        notes=[note for origin in (*origins, *more_origins) for note in origin.notes],
        petaflops=4 * _parameters(base[0]) * total * (steps / per_epoch) * _passes(of_arm.optimizer) / 1e15,
    )
    return plan, tokens[0]


def _ends_are_learnt(tokens: Sequence[Tokens], max_length: int) -> None:
    if all(item.cut for item in tokens):
        raise UsageError(
            f"train.max_length: at {max_length} tokens every one of {len(tokens)} examples loses its end and with it "
            "EOS, so the model would not learn to stop; raise it, or shorten the completions."
        )


def _passes(optimizer: Optimizer) -> float:
    """Forward and backward passes over a step's batch: Sophia's estimate takes one more every so many steps."""
    return 1 + 1 / optimizer.hessian_interval if optimizer.name == "sophia" else 1.0


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _shown(tokens: Tokens, tokenizer: Any) -> dict[str, str]:
    supervised = [label for label in tokens.labels if label != IGNORED]
    masked = tokens.input_ids[: len(tokens.input_ids) - len(supervised)]
    return {"masked": tokenizer.decode(masked), "supervised": tokenizer.decode(supervised)}
