"""A recipe: the whole configuration of a run, as typed, frozen models.

A recipe is a YAML file. `load` finds it (a path, or the name of a packaged recipe), applies `--set` overrides,
and checks everything at once: unknown keys, wrong types, values out of range and contradictions between keys are
all listed in one error. This module knows no other part of the package.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from flexlora.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
TargetPreset = Literal["mlp", "paper", "attention", "all"]
Variant = Literal["base", "adapter", "merged"]
PromptStyle = Literal["docstring", "three-shot", "stripped", "verbatim"]

ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RESERVED_ARM_NAMES = ("base", "baselines")
EMBEDDED = "tiny"
"""Name of the model that comes with FLeX; a folder of that name is `./tiny`."""

# Changing these does not change a run's results, so a run may be continued with other values.
FREE_KEYS = ("execution.workers", "sampling.batch_size", "train.report_to")


class Section(BaseModel):
    """Base of all parts of a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_anything_else(cls, value: Any, info: ValidationInfo) -> Any:
        # Text is let through to floats: YAML reads 1e-4, without a point, as text.
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation in (int, float, int | None):
            raise ValueError(f"expected a number, found {str(value).lower()}")
        if isinstance(value, str) and annotation in (int, int | None):
            raise ValueError(f"expected a whole number, found the text {value!r}")
        return value


class Tokenizer(Section):
    """Special tokens for tokenizers that lack them."""

    eos_token: str | None = Field(None, description="End-of-sequence token; null keeps the tokenizer's own.")
    pad_token: str | None = Field(
        None,
        description="Padding token; null keeps the tokenizer's own, or else pads with the EOS token (masked).",
    )


def absolute_if_local(name: str) -> str:
    """A path in full, so that a run means the same wherever it is continued from; a hub id as it is."""
    if name == EMBEDDED:
        return name
    path = Path(name).expanduser()
    return str(path.resolve()) if name.startswith((".", "/", "~")) or path.exists() else name


class DataSource(Section):
    """One training or validation dataset of a mixture."""

    dataset: str = Field(
        description="`mbpp`, `tiny/SET/LANG`, the path of a JSONL file, or the id of a Hugging Face hub dataset "
        "(`owner/name`)."
    )
    split: str = Field("train", description="Split; for `mbpp`: prompt, train, validation, test or all.")
    weight: float = Field(
        1.0,
        gt=0,
        description="How often each example is seen per epoch: 2 twice, 0.25 a fixed random quarter of the examples.",
    )
    prompt_style: Literal["docstring", "three-shot"] = Field("docstring", description="Prompt style, for `mbpp`.")
    prompt_column: str = Field("prompt", description="Column that holds the prompt, for your own data.")
    completion_column: str = Field("completion", description="Column that holds the completion, for your own data.")
    config: str | None = Field(None, description="Configuration (subset) of a hub dataset.")
    revision: str | None = Field(None, description="Revision (commit, tag or branch) of a hub dataset.")
    limit: int | None = Field(None, ge=1, description="Use the first so many examples only.")

    @field_validator("dataset")
    @classmethod
    def _one_place(cls, dataset: str) -> str:
        return absolute_if_local(dataset) if dataset.endswith(".jsonl") else dataset


class Lora(Section):
    """LoRA (paper.txt 3.1, equation 1): the update of a weight is `alpha / rank * B @ A`."""

    rank: int = Field(8, ge=1, description="Rank r of the factors A (r, n) and B (m, r).")
    alpha: float = Field(16, gt=0, description="Scaling: the update is alpha / rank * B A.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of A while training.")
    targets: TargetPreset | tuple[str, ...] = Field(
        "mlp",
        description="Modules to adapt: a preset (`mlp`: gate, up, down; `paper`: q, v, down, up; `attention`: "
        "q, k, v, o; `all`: both) or a list of module names, each of which must match.",
    )

    init_adapter: str | None = Field(
        None,
        description="Start from this saved adapter rather than from zero: its folder, a run or a run's arm "
        "(`RUN/ARM`), or a hub id. Model, rank, alpha and targets must be those that it was trained with.",
    )

    @field_validator("init_adapter")
    @classmethod
    def _one_place(cls, name: str | None) -> str | None:
        return None if name is None else absolute_if_local(name)

    @field_validator("targets", mode="before")
    @classmethod
    def _preset_or_modules(cls, targets: Any) -> Any:
        presets = get_args(TargetPreset)
        if isinstance(targets, str) and targets not in presets:
            raise ValueError(f"{targets!r} is no preset ({', '.join(presets)}); to name modules, write a list")
        if isinstance(targets, Iterable) and not targets:
            raise ValueError(f"the list is empty; name modules, or a preset ({', '.join(presets)})")
        return targets


class Penalty(Section):
    """The Fourier penalty on the adapter (paper.txt 3.3, equations 3 to 7)."""

    lam: float = Field(0.0, ge=0, description="Strength lambda; 0 trains without the penalty and only measures.")
    view: Literal["factors", "rows", "delta"] = Field(
        "factors",
        description="What is transformed: each flattened factor (`factors`), each row of A and column of B (`rows`), "
        "or the merged update in two dimensions (`delta`; needs another lambda).",
    )
    flatten: Literal["row", "column"] = Field(
        "row", description="For `factors`: vec(B) runs fastest over the rank (`row`) or over the outputs (`column`)."
    )
    weighting: Literal["step", "ramp", "sigmoid", "uniform"] = Field(
        "step",
        description="Frequency weighting: `step` is 1 above tau and 0 up to it, `ramp` rises from tau to Nyquist, "
        "`sigmoid` rises around tau, `uniform` is plain L2.",
    )
    tau: float = Field(0.5, ge=0, le=1, description="Frequency threshold as a share of the Nyquist frequency.")
    order: float = Field(1.0, gt=0, description="For `ramp`: exponent of the rise.")
    width: float = Field(0.05, gt=0, description="For `sigmoid`: width of the rise, as a share of Nyquist.")
    floor: float = Field(0.0, ge=0, description="Weight where the weighting is 0.")
    gain: float = Field(1.0, ge=0, description="Weight where the weighting is 1; at least floor.")
    reference: Literal["zero", "init"] = Field(
        "zero", description="What the factors are penalised for departing from: zero, or their initial values."
    )
    coupling: Literal["loss", "decoupled"] = Field(
        "loss",
        description="`loss`: the gradient joins the task's once per optimizer step, before clipping. `decoupled`: the "
        "factors shrink after the optimizer's step, by lam * learning rate / peak (needs another lambda).",
    )
    schedule: Literal["constant", "linear", "cosine", "target"] = Field(
        "constant",
        description="Of lam: `constant`; `linear` rises from 0 over warmup_steps; `cosine` then falls to 0 at the end; "
        "`target` moves lam so that the high-frequency share stays at target.",
    )
    warmup_steps: int = Field(0, ge=0, description="For `linear` and `cosine`: steps of the rise.")
    target: float | None = Field(None, gt=0, lt=1, description="For `target`: the share of energy above tau to hold.")
    rate: float = Field(0.1, gt=0, description="For `target`: lam is multiplied by (share / target) ** rate a step.")
    scope: Literal["both", "A", "B"] = Field("both", description="Which factors get the penalty's gradient.")
    modules: tuple[str, ...] | None = Field(
        None, min_length=1, description="Penalise only these adapted modules, e.g. [down_proj]; null is all."
    )
    control: Literal["none", "permuted", "low_band", "uniform"] = Field(
        "none",
        description="A penalty to compare with, of equal cost: `permuted` (random order before the transform), "
        "`low_band` (mirrored: penalises low frequencies), `uniform` (plain L2 of equal strength).",
    )

    @field_validator("modules", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gain < self.floor:
            raise ValueError(f"gain ({self.gain}) must be at least floor ({self.floor})")
        for option, key, users in (
            ("flatten", "view", ("factors",)),
            ("order", "weighting", ("ramp",)),
            ("width", "weighting", ("sigmoid",)),
            ("warmup_steps", "schedule", ("linear", "cosine")),
            ("target", "schedule", ("target",)),
            ("rate", "schedule", ("target",)),
        ):
            if getattr(self, option) != type(self).model_fields[option].default and getattr(self, key) not in users:
                raise ValueError(
                    f"{option} means nothing with {key}: {getattr(self, key)}; it goes with {' or '.join(users)}"
                )
        if self.schedule == "linear" and not self.warmup_steps:
            raise ValueError("schedule: linear rises over warmup_steps, which must be at least 1 (found 0)")
        if self.schedule == "target" and self.target is None:
            raise ValueError("schedule: target needs target, the share of energy above tau to hold, e.g. 0.3")
        if self.schedule == "target" and not self.lam:
            raise ValueError("schedule: target needs a first lam above 0 (found 0)")
        if self.control != "none" and self.weighting == "uniform":
            raise ValueError(f"control: {self.control} means nothing with weighting: uniform, which knows no frequency")
        if self.control != "none" and self.schedule == "target":
            raise ValueError(
                f"schedule: target holds the share above tau, which control: {self.control} does not act on; give the "
                "control the lam that the penalty itself arrived at"
            )
        return self


class Optimizer(Section):
    """The optimizer of the adapter."""

    name: Literal["adamw", "sophia"] = Field(
        "adamw",
        description="`adamw`, or `sophia`: Sophia-G, which scales steps by the curvature. Both decay decoupled.",
    )
    learning_rate: float = Field(
        2e-4, gt=0, description="Peak learning rate; of `sophia` the most that a weight moves in a step."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = Field(
        None,
        description="Decay rates of the averages: of the gradient, and of its square (`adamw`; null is [0.9, 0.999]) "
        "or of the curvature, per estimate (`sophia`; null is [0.965, 0.99]).",
    )
    epsilon: float = Field(1e-8, gt=0, description="For `adamw`: added to the denominator.")
    rho: float = Field(
        0.04, gt=0, description="For `sophia`: multiplies the curvature in the denominator; larger clips fewer values."
    )
    hessian_interval: int = Field(
        10, ge=1, description="For `sophia`: steps from one estimate of the curvature to the next."
    )
    bias_correction: bool = Field(
        False,
        description="For `sophia`: correct the curvature's average for its start at 0, as in trainings of fewer than "
        "about 1000 steps at the defaults.",
    )

    @property
    def decay_rates(self) -> tuple[float, float]:
        """`betas`, or the optimizer's own."""
        return self.betas or {"adamw": (0.9, 0.999), "sophia": (0.965, 0.99)}[self.name]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        users = {"epsilon": "adamw", "rho": "sophia", "hessian_interval": "sophia", "bias_correction": "sophia"}
        for option, user in users.items():
            if getattr(self, option) != type(self).model_fields[option].default and self.name != user:
                raise ValueError(f"{option} means nothing with name: {self.name}; it goes with {user}")
        return self


class Train(Section):
    """The training loop."""

    epochs: float = Field(3.0, gt=0, description="Passes over the training data.")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many optimizer steps; overrides epochs.")
    batch_size: int = Field(4, ge=1, description="Examples per forward pass.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    max_length: int = Field(512, ge=8, description="Longest example in tokens; longer ones are cut at the end.")
    scheduler: Literal["cosine", "linear", "constant"] = Field("cosine", description="Learning-rate schedule.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0 clips nothing.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations to save memory.")
    logging_steps: int = Field(10, ge=1, description="Write a line to log.jsonl every so many steps.")
    spectrum_steps: int | None = Field(
        50,
        ge=1,
        description="Write the adapter's power spectrum to spectrum.jsonl at the start, every so many steps and at the "
        "end; null writes none.",
    )
    eval_steps: int = Field(50, ge=1, description="Measure the validation loss every so many steps.")
    save_steps: int = Field(50, ge=1, description="Write a checkpoint every so many steps.")
    report_to: tuple[str, ...] = Field(
        (), description="Further trackers known to transformers, e.g. [tensorboard] or [wandb]."
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _checkpoints_on_log_lines(self) -> Self:
        if self.save_steps % self.logging_steps:
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of logging_steps ({self.logging_steps}), so that "
                "a resumed run logs the same lines as an undisturbed one"
            )
        return self


class Task(Section):
    """One benchmark to evaluate; a plain string is its name."""

    name: str = Field(description="`humaneval`, `mbpp`, `multipl-e/humaneval/LANG`, `tiny/SET/LANG`.")
    prompt_style: PromptStyle | None = Field(
        None,
        description="`docstring` or `three-shot` for mbpp; `stripped` (the default) or `verbatim` for multipl-e.",
    )
    split: str | None = Field(None, description="Split, for `mbpp` (default: test) and `tiny` (default: test).")
    limit: int | None = Field(None, ge=1, description="Evaluate the first so many problems only.")


def _task_from_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Sampling(Section):
    """How completions are drawn."""

    n: int = Field(1, ge=1, description="Completions per problem.")
    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling: keep the most likely tokens of this mass.")
    max_new_tokens: int = Field(512, ge=1, description="Longest completion in tokens.")
    batch_size: int = Field(16, ge=1, description="Completions generated at once.")
    k: tuple[Annotated[int, Field(ge=1)], ...] = Field((1,), min_length=1, description="Report pass@k for these k.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        too_large = [k for k in self.k if k > self.n]
        if too_large:
            raise ValueError(
                f"pass@{too_large[0]} needs at least {too_large[0]} samples per problem, but n = {self.n}; raise "
                "sampling.n or lower sampling.k (pass@k is never extrapolated)"
            )
        if self.temperature == 0 and self.n > 1:
            raise ValueError(
                f"n = {self.n} greedy samples (temperature 0) would all be the same; set n = 1 or a temperature above 0"
            )
        return self


class Execution(Section):
    """How programs are run."""

    workers: int | None = Field(None, ge=1, description="Programs run at once; null is one per processor core.")


class ModelSource(Section):
    """One model and how to load it."""

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    tokenizer: Tokenizer = Tokenizer()
    precision: Precision = "auto"


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
    tasks: tuple[Annotated[Task, BeforeValidator(_task_from_name)], ...] = Field(
        min_length=1, description="Benchmarks to evaluate."
    )
    sampling: Sampling = Field(Sampling(), description="How completions are drawn.")
    variants: tuple[Variant, ...] = Field(
        ("base", "adapter"),
        min_length=1,
        description="What is evaluated: `base`, `adapter` (on top of the base: the paper's unmerged), `merged`.",
    )
    arms: dict[str, dict[str, Any]] = Field(
        {},
        description="Named sets of overrides, each trained and evaluated in this run; none means one, `main`.",
    )
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
        names = [task.name for task in self.tasks]
        problems += [f"tasks: {name!r} is listed twice" for name in sorted({n for n in names if names.count(n) > 1})]
        for field in ("variants", "baselines"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                problems.append(f"{field}: {', '.join(values)} names something twice")
        if self.model in self.baselines:
            problems.append(f"baselines: {self.model!r} is the model itself; variant base evaluates it")
        if self.arm_names() and not self.data:
            problems.append("data: nothing to train on; name a dataset, or evaluate the model alone: variants: [base]")
        for arm in self.arms:
            if not ARM_NAME.fullmatch(arm) or arm in RESERVED_ARM_NAMES:
                problems.append(
                    f"arms: {arm!r} cannot name an arm; use letters, digits, '.', '_' or '-', and not "
                    f"{' or '.join(RESERVED_ARM_NAMES)}"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def source(self, model: str) -> ModelSource:
        """How to load the recipe's model or one of its baselines."""
        return ModelSource(
            name=model,
            revision=self.model_revision if model == self.model else None,
            trust_remote_code=self.trust_remote_code,
            tokenizer=self.tokenizer,
            precision=self.precision,
        )

    def arm_names(self) -> tuple[str, ...]:
        """The arms of the run: those of the recipe, or `main` alone; none where only the base is evaluated."""
        if self.variants == ("base",):
            return ()
        return tuple(self.arms) or ("main",)

    def arm(self, name: str) -> Recipe:
        """The recipe of one arm: its overrides applied, without further arms."""
        overrides = self.arms.get(name, {})
        return _build(merged(dumped(self) | {"arms": {}}, overrides), where=f"arms.{name}.")


# What an arm may change: how the adapter is trained, not what all arms share.
ARM_KEYS = ("data", "validation", "lora", "penalty", "optimizer", "train", "seed")


def packaged() -> dict[str, Path]:
    """Packaged recipes by name, e.g. `mbpp-java` or `paper/round1-mbpp`."""
    root = Path(str(resources.files("flexlora") / "recipes"))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}


def find(recipe: str) -> Path:
    """The file of a recipe given as a path or as the name of a packaged one.

    Raises:
        UsageError: there is no such file and no such name.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    known = packaged()
    if recipe in known:
        return known[recipe]
    close = difflib.get_close_matches(Path(recipe).stem, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(
        f"recipe {recipe!r}: no such file, and no packaged recipe of that name.{hint} Packaged: {', '.join(known)}."
    )


def load(recipe: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        recipe: a path, or the name of a packaged recipe.
        overrides: `dotted.key=value` strings, the value in YAML (`--set` on the command line).

    Raises:
        UsageError: the file is missing or is not YAML, or the recipe is wrong; all errors are listed.
    """
    path = find(str(recipe))
    values = read_yaml(path)
    values.setdefault("name", path.stem)
    given = list(overrides)
    for override in given:
        values = merged(values, parse_override(override))
    source = f"recipe {path}" + "".join(f" with --set {override}" for override in given)
    return _build(values, where="", source=source)


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values, checked like a file."""
    return _build(dict(values), where="")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: it cannot be read, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_doubled_keys(yaml.compose(text, yaml.SafeLoader))
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values, found {type(values).__name__}.")
    return values


def _refuse_doubled_keys(node: yaml.Node | None) -> None:
    """PyYAML takes the last of two equal keys without a word."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
            _refuse_doubled_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_doubled_keys(item)


def parse_override(text: str) -> dict[str, Any]:
    """`"train.epochs=1"` as `{"train": {"epochs": 1}}`.

    Raises:
        UsageError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {text!r}: write it as key=value, e.g. --set train.epochs=1.")
    try:
        nested: Any = yaml.safe_load(value) if value else None
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text!r}: the value is not YAML: {error}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `overrides` laid over it; mappings are merged, everything else is replaced."""
    result = dict(values)
    for key, override in overrides.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(override, Mapping)
        result[key] = merged(old, override) if both else override  # type: ignore[arg-type]
    return result


def dumped(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, every default written out: what `recipe.yaml` of a run holds."""
    return recipe.model_dump(mode="json")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two dumped recipes, without those that leave results unchanged."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**old, **new}:
        a, b = old.get(key), new.get(key)
        dotted = f"{prefix}{key}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{dotted}.")
        elif a != b and dotted not in FREE_KEYS:
            found[dotted] = (a, b)
    return found


def _build(values: Mapping[str, Any], where: str, source: str = "recipe") -> Recipe:
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
        in_arm = _check(merged({**values, "arms": {}}, overrides), where=f"arms.{name}.")[1]
        problems += [p for p in in_arm if p.removeprefix(f"arms.{name}.") not in problems]
    if recipe is not None and not problems:
        return recipe
    raise UsageError(f"{source} is not valid:\n" + "\n".join(f"- {problem}" for problem in dict.fromkeys(problems)))


def _check(values: Mapping[str, Any], where: str) -> tuple[Recipe | None, list[str]]:
    try:
        return Recipe.model_validate(values), []
    except ValidationError as error:
        # A list whose items are all wrong is also reported as too short, which would mislead.
        items = [item for item in error.errors() if item["type"] != "too_short" or item["input"] in ([], ())]
        return None, [_describe(item, where) for item in items]


def _describe(error: Any, where: str) -> str:
    """One pydantic error in words: key, what is wrong, the value."""
    # Pydantic names the branch of a union in the location (`lora.targets.tuple[...]`); users wrote only the key.
    parts = [
        part for part in error["loc"] if not (isinstance(part, str) and re.search(r"[\[(]|^(literal|tuple)", part))
    ]
    key = where + ".".join(map(str, parts))
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(parts[-1]), _known_keys(parts[:-1]), n=1)
        return f"{key}: unknown key" + (f"; did you mean {close[0]!r}?" if close else "; see `docs/reference/recipe`")
    if error["type"] == "missing":
        return f"{key}: missing; every recipe needs it"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error" and not parts:
        return f"{where}{message}"
    given = "" if error["type"] == "value_error" else f" (found {error['input']!r})"
    return f"{key}: {message[0].lower() + message[1:]}{given}"


def _known_keys(location: list[Any]) -> list[str]:
    """The keys that are valid at a place in the recipe, for suggestions."""
    section: Any = Recipe
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = next((s for s in _sections() if s.__name__ in str(annotation)), None)
        if section is None:
            return []
    return list(section.model_fields)


def _sections() -> tuple[type[Section], ...]:
    return (Tokenizer, DataSource, Lora, Penalty, Optimizer, Train, Task, Sampling, Execution)
