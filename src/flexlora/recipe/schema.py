"""`Recipe`, the whole configuration, and its check: all that is wrong with one is listed in one error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from flexlora.errors import UsageError
from flexlora.recipe.engine import Engine
from flexlora.recipe.evaluating import (
    Execution,
    Prompting,
    Repair,
    Sampling,
    Selection,
    Task,
    section_from,
    task_from_name,
)
from flexlora.recipe.likelihood import Likelihood, Texts
from flexlora.recipe.sections import (
    DataSource,
    Lora,
    ModelSource,
    Optimizer,
    Penalty,
    Precision,
    Quantization,
    Section,
    Tokenizer,
    Train,
    absolute_if_local,
)
from flexlora.recipe.variant import AT, Variant

S = TypeVar("S", bound=Section)

ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RESERVED_ARM_NAMES = ("base", "baselines")

# Changing these does not change a run's results, so a run may be continued with other values.
FREE_KEYS = (
    "engine.api_key_env",
    "engine.base_url",
    "engine.concurrency",
    "engine.max_stops",
    "engine.retries",
    "engine.timeout_s",
    "execution.overlap",
    "execution.workers",
    "likelihood.batch_tokens",
    "likelihood.texts",  # further ones add to them
    "sampling.batch_size",
    "sampling.k",
    "sampling.preset",
    "train.report_to",
    "train.sharding",
)
GROWING_KEYS = ("sampling.n",)
"""These may be raised: a sample is the same however many are drawn, so what is there stays."""


SECTIONS = (
    *(Tokenizer, DataSource, Lora, Penalty, Optimizer, Train, Task),
    *(Sampling, Prompting, Selection, Repair, Execution, Engine, Texts, Likelihood),
)
"""All parts of a recipe."""


class Recipe(Section):
    """Everything that a run does, from the model to the report."""

    name: str = Field("", description="Name of the run; by default the recipe's file name.")
    description: str = Field("", description="One line on what the recipe is for.")
    model: str = Field(
        description="Model to adapt: a local folder, a Hugging Face hub id, or `tiny`, which comes with FLeX."
    )
    model_revision: str | None = Field(None, description="Revision of a hub model.")
    trust_remote_code: bool = Field(False, description="Run Python code that comes with the model.")
    tokenizer: Tokenizer = Field(Tokenizer(), description="Special tokens for tokenizers that lack them.")
    precision: Precision = Field(
        "auto", description="Of the base weights; auto: bfloat16 on a GPU that has it, float32 on a CPU."
    )
    quantization: Quantization | None = Field(
        None,
        description="`nf4` holds the model's weights in 4 bits (QLoRA; extra `quantization`), for training and for "
        "evaluation, of `base` too; baselines are not quantised. Products are computed in `precision`.",
    )
    baselines: tuple[str, ...] = Field((), description="Further models, evaluated as they are.")
    data_dir: Path | None = Field(
        None,
        description="Folder with the benchmark files; null loads from the Hugging Face hub at pinned revisions.",
    )
    data: tuple[DataSource, ...] = Field(
        (),
        description="Training data: one dataset or a weighted mixture. None is needed where nothing but `base` is "
        "evaluated; then nothing is trained.",
    )
    validation: tuple[DataSource, ...] = Field((), description="Validation data for the validation loss.")
    lora: Lora = Field(Lora(), description="The adapter.")
    penalty: Penalty = Field(Penalty(), description="The Fourier penalty.")
    optimizer: Optimizer = Field(Optimizer(), description="The optimizer.")
    train: Train = Field(Train(), description="The training loop.")
    tasks: tuple[Annotated[Task, BeforeValidator(task_from_name)], ...] = Field(
        (), description="Benchmarks to evaluate; none is needed where only likelihoods are measured."
    )
    likelihood: Likelihood = Field(
        Likelihood(), description="Held-out texts whose likelihood is measured: a list, or a mapping with `texts`."
    )
    sampling: Sampling = Field(Sampling(), description="How completions are drawn.")
    prompting: Annotated[Prompting, section_from("style", str)] = Field(
        Prompting(), description="How problems are put to the model."
    )
    selection: Annotated[Selection, section_from("methods", (list, tuple, str))] = Field(
        Selection(), description="Choosing among completions."
    )
    repair: Annotated[Repair, section_from("rounds", int)] = Field(Repair(), description="A second answer.")
    variants: tuple[Variant, ...] = Field(
        ("base", "adapter"),
        min_length=1,
        description="What is evaluated: `base`, `adapter` (on top of the base: the paper's unmerged), `merged`, and "
        "`adapter@0.5`, with half of the adapter's update (any number up to 2).",
    )
    arms: dict[str, dict[str, Any]] = Field(
        {},
        description="Named sets of overrides, each trained and evaluated in this run; none means one, `main`.",
    )
    engine: Engine = Field(Engine(), description="What generates completions.")
    execution: Execution = Field(Execution(), description="How programs are run.")
    seed: int = Field(0, ge=0, description="Seed of adapter initialisation, data order, dropout and sampling.")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, data_dir: Path | None) -> Path | None:
        return None if data_dir is None else data_dir.expanduser().resolve()

    @field_validator("model")
    @classmethod
    def _one_place(cls, model: str) -> str:
        return absolute_if_local(model)

    @field_validator("baselines")
    @classmethod
    def _their_places(cls, baselines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(absolute_if_local, baselines))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if not self.tasks and not self.likelihood.texts:
            problems.append("tasks: nothing to evaluate; name a benchmark, or texts under likelihood")
        names = [task.name for task in self.tasks]
        problems += [f"tasks: {name!r} is listed twice" for name in sorted({n for n in names if names.count(n) > 1})]
        for field in ("variants", "baselines"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                problems.append(f"{field}: {', '.join(values)} names something twice")
        if self.model in self.baselines:
            problems.append(f"baselines: {self.model!r} is the model itself; variant base evaluates it")
        if self.selection.methods and self.sampling.n == 1:
            problems.append(
                f"selection: {', '.join(self.selection.methods)} chooses among completions, and sampling.n is 1; set "
                "sampling.n and a temperature above 0"
            )
        if self.engine.is_remote and self.prompting.style.startswith("chat"):
            problems.append(
                f"prompting: {self.prompting.style} puts prompts into the tokenizer's chat template, and engine openai "
                "sends plain prompts; use style plain or plan, or engine transformers"
            )
        if self.engine.is_remote and "logprob" in self.selection.methods:
            problems.append(
                "selection: logprob needs log-probabilities, which are not asked of engine openai; use codet or "
                "majority, or engine transformers"
            )
        if self.engine.is_remote and self.repair.rounds:
            problems.append(
                "repair: second answers have to fit the model's context, which engine openai does not tell; use engine "
                "transformers"
            )
        if self.quantization and "merged" in self.variants:
            problems.append(
                f"variants: merged does not go with quantization: {self.quantization}, as the update would be rounded "
                "to 4 bits; evaluate adapter, or merge into the unquantised base (flexlora merge), and evaluate that "
                "model"
            )
        # What arms change themselves is looked at in each arm.
        if self.lora.use_dora and not self.arms and (part := [one for one in self.variants if one.startswith(AT)]):
            problems.append(
                f"variants: {', '.join(part)} does not go with lora.use_dora, whose update does not grow in proportion "
                "to the strength; leave it out, or train without DoRA"
            )
        if self.train.early_stopping and not self.arms and not self.validation:
            problems.append(
                f"train.early_stopping: {self.train.early_stopping} goes by the validation loss, and there is no "
                "validation data; name some under validation, or set it to null"
            )
        if self.arm_names() and not self.data:
            problems.append("data: nothing to train on; name a dataset, or evaluate the model alone: variants: [base]")
        for arm in self.arms:
            if not ARM_NAME.fullmatch(arm) or arm in RESERVED_ARM_NAMES:
                problems.append(
                    f"arms: {arm!r} cannot name an arm; use letters, digits, '.', '_' or '-', and not "
                    f"{' or '.join(RESERVED_ARM_NAMES)}"
                )
        problems += self.engine.problems(self.variants, self.arm_names(), self.baselines)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def is_local(self, model: str) -> bool:
        """Whether a model is loaded here: to train, to generate, or to measure likelihoods, which no server does."""
        trained = model == self.model and bool(self.arm_names())
        return not self.engine.is_remote or trained or bool(self.likelihood.texts)

    def source(self, model: str) -> ModelSource:
        """How to load the recipe's model or one of its baselines."""
        return ModelSource(
            name=model,
            revision=self.model_revision if model == self.model else None,
            trust_remote_code=self.trust_remote_code,
            tokenizer=self.tokenizer,
            precision=self.precision,
            quantization=self.quantization if model == self.model else None,
        )

    def arm_names(self) -> tuple[str, ...]:
        """The arms of the run: those of the recipe, or `main` alone; none where only the base is evaluated."""
        if self.variants == ("base",):
            return ()
        return tuple(self.arms) or ("main",)

    def arm(self, name: str) -> Recipe:
        """The recipe of one arm: its overrides applied, without further arms."""
        overrides = self.arms.get(name, {})
        return build(merged(dumped(self) | NOT_AN_ARMS, overrides), where=f"arms.{name}.")


def with_sharding(recipe: Recipe) -> Recipe:
    """A recipe whose trainings are sharded, as a launcher asks for it; an arm that says otherwise has its way."""
    return build(merged(dumped(recipe), {"train": {"sharding": "fsdp2"}}), where="")


# What an arm may change: how the adapter is trained, not what all arms share.
ARM_KEYS = ("data", "validation", "lora", "penalty", "optimizer", "train", "seed")

NOT_AN_ARMS: dict[str, Any] = {"arms": {}, "engine": {}}
"""What the recipe of one arm is without: the engine knows all arms by name, and generates for them together."""


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values, checked like a file."""
    return build(dict(values), where="")


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `overrides` laid over it; mappings are merged, everything else is replaced."""
    result = dict(values)
    for key, override in overrides.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(override, Mapping)
        result[key] = merged(old, override) if both else override  # type: ignore[arg-type]  # `both` says so
    return result


def dumped(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, every default written out: what `recipe.yaml` of a run holds."""
    return recipe.model_dump(mode="json")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two dumped recipes, without those that leave what is there valid."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**old, **new}:
        a, b = old.get(key), new.get(key)
        dotted = f"{prefix}{key}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{dotted}.")
        elif a != b and not _is_free(dotted) and not _is_raised(dotted, a, b):
            found[dotted] = (a, b)
    return found


def _is_raised(key: str, old: Any, new: Any) -> bool:
    return key in GROWING_KEYS and isinstance(old, int) and isinstance(new, int) and new > old


def _is_free(key: str) -> bool:
    """Also as an arm's own, whose name may have dots."""
    return key in FREE_KEYS or (key.startswith("arms.") and key.endswith(tuple(f".{free}" for free in FREE_KEYS)))


def build(values: Mapping[str, Any], where: str, source: str = "recipe") -> Recipe:
    recipe, problems = examined(values, where)
    if recipe is not None and not problems:
        return recipe
    raise UsageError(f"{source} is not valid:\n" + "\n".join(f"- {problem}" for problem in problems))


def examined(values: Mapping[str, Any], where: str = "") -> tuple[Recipe | None, list[str]]:
    """A recipe from plain values, where it can be made of them, and everything that is wrong with it or its arms."""
    recipe, problems = _check(values, where)
    arms = values.get("arms")
    for name, overrides in arms.items() if isinstance(arms, Mapping) else ():
        if not isinstance(overrides, Mapping):
            continue  # reported above
        problems += [
            f"arms.{name}.{key}: the same for all arms of a run; an arm may change {', '.join(ARM_KEYS)}"
            for key in overrides
            if key in Recipe.model_fields and key not in ARM_KEYS
        ]
        in_arm = _check(merged({**values, **NOT_AN_ARMS}, overrides), where=f"arms.{name}.")[1]
        problems += [p for p in in_arm if p.removeprefix(f"arms.{name}.") not in problems]
    return recipe, list(dict.fromkeys(problems))


def _check(values: Mapping[str, Any], where: str) -> tuple[Recipe | None, list[str]]:
    return _validated(Recipe, values, where)


def checked(section: type[S], values: Mapping[str, Any], where: str) -> S:
    """One section by itself, from plain values.

    Raises:
        UsageError: they are wrong; all errors are listed.
    """
    found, problems = _validated(section, values, where)
    if found is None:
        raise UsageError("; ".join(problems))
    return found


def _validated(section: type[S], values: Mapping[str, Any], where: str) -> tuple[S | None, list[str]]:
    try:
        return section.model_validate(values), []
    except ValidationError as error:
        # A list whose items are all wrong is also reported as too short, which would mislead.
        items = [item for item in error.errors() if item["type"] != "too_short" or item["input"] in ([], ())]
        return None, [_describe(item, where, section) for item in items]


def _describe(error: Any, where: str, section: type[Section]) -> str:
    """One pydantic error in words: key, what is wrong, the value."""
    # Pydantic names the branch of a union in the location (`lora.targets.tuple[...]`); users wrote only the key.
    parts = [
        part for part in error["loc"] if not (isinstance(part, str) and re.search(r"[\[(]|^(literal|tuple)", part))
    ]
    key = where + ".".join(map(str, parts))
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(parts[-1]), _known_keys(parts[:-1], section), n=1)
        return f"{key}: unknown key" + (f"; did you mean {close[0]!r}?" if close else f"; see `{section.documented}`")
    if error["type"] == "missing":
        return f"{key}: missing; every {section.__name__.lower()} needs it"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error" and not parts:
        return f"{where}{message}"
    given = "" if error["type"] == "value_error" else f" (found {error['input']!r})"
    return f"{key}: {message[0].lower() + message[1:]}{given}"


def _known_keys(location: list[Any], section: Any) -> list[str]:
    """The keys that are valid at a place in a section, for suggestions."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = next((s for s in SECTIONS if s.__name__ in str(annotation)), None)
        if section is None:
            return []
    return list(section.model_fields)
