"""`Plan`: what a run will do, as preflight found it, in values and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flexlora.data.overlap_words import sentences
from flexlora.recipe import Lora, Optimizer, Penalty, Recipe

RHO_OFF = 4
"""A rho so many times the usual one, or so many times below it, is remarked upon."""
SETTLED = 0.9
"""Share of its size that the curvature's average should come to within a training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """What training one arm comes to."""

    arm: str
    targets: dict[str, int]
    """Target module -> how many modules it matches."""
    adapter: str
    """It in words: kind, rank and scaling."""
    trainable_parameters: int
    init_adapter: str | None
    """The adapter that it starts from; None starts from zero."""
    penalty: str
    """The penalty in words."""
    optimizer: str
    """The optimizer in words, with what is wrong for a training of this length and these batches."""
    examples: int
    cut: int
    """Examples longer than `train.max_length`, which lose their end."""
    left_out: int
    """Examples, of validation too, whose prompt alone fills `train.max_length`."""
    validation_examples: int
    tokens_per_epoch: int
    supervised_tokens_per_epoch: int
    optimizer_steps: int
    notes: list[str]
    """What of the training and validation data cannot be used."""
    petaflops: float
    """Rough cost: 4 x parameters x tokens (forward, and backward through frozen weights)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do."""

    name: str
    model: str
    engine: str | None
    """The server that generates, and what it calls the models; None generates here."""
    parameters: int | None
    """None where only the server has the model."""
    weights_gb: float | None
    """Of the weights' files, or, quantised, in memory."""
    device: str
    dtype: str
    quantization: str | None
    """None leaves the weights as they are."""
    arms: list[ArmPlan]
    tasks: dict[str, int]
    """Task -> problems."""
    completions: int
    programs: dict[str, int]
    """Language -> programs to run."""
    overlap: list[dict[str, Any]]
    """What training and evaluation share: `arms`, and `tasks` with an `Overlap` each."""
    notes: list[str] = field(default_factory=list)
    """What of the tasks' data cannot be evaluated."""
    texts: dict[str, int] = field(default_factory=dict)
    """Name -> texts whose likelihood is measured."""
    methods: list[str] = field(default_factory=list)
    """Prompting, selection and repair in words, where they are not as by default."""
    example: dict[str, str] = field(default_factory=dict)
    """One training example, decoded: what is masked and what the loss is on; empty where nothing is trained."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The plan in words."""
        said = [f"model      {self.model}: {self._size()}"]
        said += [f"engine     {self.engine}"] * (self.engine is not None)
        for arm in self.arms:
            targets = ", ".join(f"{name} x{count}" for name, count in arm.targets.items())
            said.append(f"arm        {arm.arm}: {arm.trainable_parameters:,} trainable parameters ({targets})")
            said.append(f"           {arm.adapter}")
            said += [f"           starts from {arm.init_adapter}"] * (arm.init_adapter is not None)
            said += [f"           {arm.penalty}", f"           {arm.optimizer}"]
            notes = [f"{arm.cut} cut at max_length"] * bool(arm.cut)
            notes += [f"{arm.left_out} left out: the prompt alone fills max_length"] * bool(arm.left_out)
            said.append(
                f"           {arm.examples} examples an epoch, {arm.supervised_tokens_per_epoch:,} of "
                f"{arm.tokens_per_epoch:,} tokens supervised{' (' + '; '.join(notes) + ')' if notes else ''}"
            )
            said.append(
                f"           {arm.optimizer_steps} optimizer steps, about {arm.petaflops:.3g} PFLOP; "
                f"{arm.validation_examples} validation examples"
            )
            said += [f"           {note}" for note in arm.notes]
        if self.texts:
            said.append("likelihood " + ", ".join(f"{name} ({count})" for name, count in self.texts.items()))
        if self.tasks:
            said.append("evaluate   " + ", ".join(f"{task} ({count})" for task, count in self.tasks.items()))
            programs = ", ".join(f"{count} {language}" for language, count in self.programs.items())
            said.append(f"           {self.completions} completions, programs to run: {programs}")
            said += [f"           {line}" for line in self.methods]
        for one in self.overlap:
            of = f"of {', '.join(one['arms'])}: " if len(self.overlap) > 1 else ""
            lines = [f"{of}{line}" for line in sentences(one["tasks"])]
            said += [f"{'overlap' if line is lines[0] else '':<11}{line}" for line in lines]
        said += [f"note       {note}" for note in self.notes]
        if not self.example:
            return [*said, "nothing is trained"]
        said.append("one training example, as the model sees it:")
        said += [f"  [masked]     {line}" for line in self.example["masked"].splitlines()]
        said += [f"  [supervised] {line}" for line in self.example["supervised"].splitlines()]
        return said

    def _size(self) -> str:
        if self.parameters is None or self.weights_gb is None:
            return "not loaded here"
        return (
            f"{self.parameters:,} parameters, {self.weights_gb:.2f} GB of weights, "
            f"{self.quantization + ' computed in ' if self.quantization else ''}{self.dtype} on {self.device}"
        )


def adapter_in_words(lora: Lora) -> str:
    """Kind, rank, alpha and what they come to."""
    kind = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA"}[lora.kind]
    also = " with rsLoRA's scaling" if lora.use_dora and lora.use_rslora else ""
    return f"{kind}{also}, rank {lora.rank}, alpha {lora.alpha:g} (B A is scaled by {lora.scaling:.3g})"


def penalty_in_words(penalty: Penalty) -> str:
    """Lambda, view, weighting, and whatever else is not as by default."""
    if not penalty.lam:
        return "no penalty"
    defaults = {name: field.default for name, field in Penalty.model_fields.items()}
    options = {name: value for name, value in penalty.model_dump().items() if value is not None}
    shown = {name: value for name, value in options.items() if value != defaults[name] and name != "lam"}
    shown = {name: options[name] for name in ("view", "weighting", "tau")} | shown
    return f"penalty lam {penalty.lam:g}: " + ", ".join(f"{name} {value}" for name, value in shown.items())


def methods_in_words(recipe: Recipe) -> list[str]:
    """What inference does beyond one plain completion after another, and what it costs at most."""
    selection, said = recipe.selection, []
    if recipe.prompting.style != "plain":
        said.append(f"prompting {recipe.prompting.style}")
    if selection.methods:
        said.append(f"selection among {recipe.sampling.n} completions: {', '.join(selection.methods)}")
    if selection.writes_tests:
        kinds = len({"codet", "majority"} & set(selection.methods))
        tokens, programs = selection.test_samples * selection.test_tokens, kinds * selection.tests * recipe.sampling.n
        said.append(f"for each variant and problem up to {tokens:,} tokens of tests, and {programs:,} more programs")
    if recipe.repair.rounds:
        said.append(f"repair: a second answer to each program that failed, which shows the model {recipe.repair.show}")
    return said


def optimizer_in_words(optimizer: Optimizer, supervised: float, steps: int) -> str:
    """Name, learning rate and, of Sophia, rho; then what does not fit the training.

    Args:
        supervised: tokens that the loss is taken on, in a step.
        steps: of the training.
    """
    said = f"{optimizer.name}, learning rate {optimizer.peak_learning_rate:g}"
    if optimizer.name != "sophia":
        return said
    rho, usual = optimizer.rho_at(supervised), optimizer.model_copy(update={"rho": None}).rho_at(supervised)
    said += f", rho {rho:.3g} at {supervised:,.0f} supervised tokens a step"
    if rho * RHO_OFF < usual:
        said += f" (usual is {usual:.2g}; this one clips nearly every value, so that steps go by the sign)"
    elif rho > RHO_OFF * usual:
        said += f" (usual is {usual:.2g}; this one clips hardly a value, so that nothing bounds the noise)"
    reached = 1 - optimizer.decay_rates[1] ** (steps / optimizer.hessian_interval)
    if not optimizer.bias_correction and reached < SETTLED:
        said += f"; by the last step the curvature has {reached:.0%} of its size: set optimizer.bias_correction"
    return said
