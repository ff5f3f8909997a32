"""The parts of a recipe about model and training: typed, frozen models with their bounds, defaults and descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["nf4"]
TargetPreset = Literal["mlp", "paper", "attention", "all"]
Difficulty = Literal["introductory", "interview", "competition"]

EMBEDDED = "tiny"
"""Name of the model that comes with FLeX; a folder of that name is `./tiny`."""


class Section(BaseModel):
    """Base of all parts of a recipe: frozen, unknown keys refused."""

    documented: ClassVar[str] = "docs/reference/recipe"
    """Where all keys are listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_anything_else(cls, value: Any, info: ValidationInfo) -> Any:
        # Text is let through to floats: YAML reads 1e-4, without a point, as text.
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation in (int, float, int | None, float | None):
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
        description="`mbpp`, `apps`, `codesearchnet/LANG`, `tiny/SET/LANG`, the path of a JSONL file, or the id of a "
        "Hugging Face hub dataset (`owner/name`)."
    )
    split: str = Field(
        "train",
        description="Split; for `mbpp`: prompt, train, validation, test or all; for `apps`: train or test; for "
        "`codesearchnet`: train, validation or test.",
    )
    weight: float = Field(
        1.0,
        gt=0,
        description="How often each example is seen per epoch: 2 twice, 0.25 a fixed random quarter of the examples.",
    )
    prompt_style: Literal["docstring", "three-shot", "original", "bigcode"] = Field(
        "docstring",
        description="Prompt style: `docstring` or `three-shot` for `mbpp`; for `apps` `original` (its default) or "
        "`bigcode`.",
    )
    difficulty: tuple[Difficulty, ...] = Field(
        (), description="For `apps`: only problems of these difficulties; none named means all."
    )
    prompt_column: str = Field("prompt", description="Column that holds the prompt, for your own data.")
    completion_column: str = Field("completion", description="Column that holds the completion, for your own data.")
    config: str | None = Field(None, description="Configuration (subset) of a hub dataset.")
    revision: str | None = Field(None, description="Revision (commit, tag or branch) of a hub dataset.")
    limit: int | None = Field(None, ge=1, description="Use the first so many examples only.")

    @model_validator(mode="before")
    @classmethod
    def _own_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("dataset") == "apps":
            return {"prompt_style": "original", **values}
        return values

    @field_validator("difficulty", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("dataset")
    @classmethod
    def _one_place(cls, dataset: str) -> str:
        return absolute_if_local(dataset) if dataset.endswith(".jsonl") else dataset


class Lora(Section):
    """LoRA (paper.txt 3.1, equation 1): the update of a weight is `scaling * B @ A`."""

    rank: int = Field(8, ge=1, description="Rank r of the factors A (r, n) and B (m, r).")
    alpha: float = Field(16, gt=0, description="Scaling: the update is alpha / rank * B A.")
    use_rslora: bool = Field(
        False, description="rsLoRA: scale by alpha / sqrt(rank), so that a larger rank does not weaken the update."
    )
    use_dora: bool = Field(
        False,
        description="DoRA: the factors turn the rows of a weight, whose lengths are magnitudes that are trained too. "
        "The penalty leaves the magnitudes alone.",
    )
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of A while training.")
    targets: TargetPreset | tuple[str, ...] = Field(
        "mlp",
        description="Modules to adapt: a preset (`mlp`: gate, up, down; `paper`: q, v, down, up; `attention`: "
        "q, k, v, o; `all`: both) or a list of module names, each of which must match.",
    )

    init_adapter: str | None = Field(
        None,
        description="Start from this saved adapter rather than from zero: its folder, a run or a run's arm "
        "(`RUN/ARM`), or a hub id. Model, kind, rank, alpha and targets must be those that it was trained with.",
    )

    @property
    def kind(self) -> Literal["lora", "rslora", "dora"]:
        """As the capability matrix has it; DoRA with rsLoRA's scaling is `dora`."""
        if self.use_dora:
            return "dora"
        return "rslora" if self.use_rslora else "lora"

    @property
    def scaling(self) -> float:
        """What multiplies B A."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

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


PRETRAINING_RHO = 0.04
PRETRAINING_TOKENS = 480_000
"""Sophia's rho and the tokens of a step in its paper (arXiv 2305.14342): clipping is even where rho sqrt(tokens) is."""


class Optimizer(Section):
    """The optimizer of the adapter."""

    name: Literal["adamw", "sophia"] = Field(
        "adamw",
        description="`adamw`, or `sophia`: Sophia-G, which scales steps by the curvature. Both decay decoupled.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate; of `sophia` the most that a weight moves in a step. Null is 2e-4 for `adamw` "
        "and 1e-4 for `sophia`.",
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = Field(
        None,
        description="Decay rates of the averages: of the gradient, and of its square (`adamw`; null is [0.9, 0.999]) "
        "or of the curvature, per estimate (`sophia`; null is [0.965, 0.99]).",
    )
    epsilon: float = Field(1e-8, gt=0, description="For `adamw`: added to the denominator.")
    rho: float | None = Field(
        None,
        gt=0,
        description="For `sophia`: multiplies the curvature in the denominator; larger clips fewer values. Null is "
        "0.04 * sqrt(480000 / N) at N supervised tokens a step, which clips as many as 0.04 does in pretraining.",
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
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or the optimizer's own."""
        return self.learning_rate or {"adamw": 2e-4, "sophia": 1e-4}[self.name]

    def rho_at(self, supervised: float) -> float:
        """`rho`, or what keeps the clipped fraction of pretraining at so many supervised tokens a step."""
        return self.rho or PRETRAINING_RHO * math.sqrt(PRETRAINING_TOKENS / supervised)

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
    padding_free: bool = Field(
        True,
        description="Put the examples of a batch into one row, each attending to itself only, rather than pad them to "
        "the longest; false is for models that cannot keep them apart, which are refused.",
    )
    cuda_graphs: bool = Field(
        True,
        description="On one GPU, in half precision and without checkpointing, record the kernels of a step and start "
        "them at once rather than one by one; rows are filled up to one of few lengths. Means nothing without "
        "padding_free. Changes nothing but rounding.",
    )
    scheduler: Literal["cosine", "linear", "constant"] = Field("cosine", description="Learning-rate schedule.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0 clips nothing.")
    sharding: Literal["none", "fsdp2"] = Field(
        "none",
        description="With several processes: `none`, each with the whole model (DDP), or `fsdp2`, each with a part of "
        "it, for one that is too large for a GPU. Changes nothing but rounding.",
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations to save memory.")
    logging_steps: int = Field(10, ge=1, description="Write a line to log.jsonl every so many steps.")
    spectrum_steps: int | None = Field(
        50,
        ge=1,
        description="Write the adapter's power spectrum to spectrum.jsonl at the start, every so many steps and at the "
        "end; null writes none.",
    )
    eval_steps: int = Field(50, ge=1, description="Measure the validation loss every so many steps.")
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="Patience: stop after so many validations in a row (every eval_steps) without a new lowest "
        "validation loss, and keep the adapter of the lowest. Null trains to the end and keeps the last.",
    )
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


class ModelSource(Section):
    """One model and how to load it."""

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    tokenizer: Tokenizer = Tokenizer()
    precision: Precision = "auto"
    quantization: Quantization | None = None
