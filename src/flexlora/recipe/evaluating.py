"""The parts of a recipe about evaluation: tasks, how they are put to the model, sampled, chosen from and run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from flexlora.recipe.presets import Preset, against_preset, with_preset
from flexlora.recipe.sections import Difficulty, Section, absolute_if_local

PromptStyle = Literal["docstring", "three-shot", "stripped", "verbatim", "original", "bigcode"]


class Task(Section):
    """One benchmark to evaluate; a plain string is its name."""

    name: str = Field(
        description="A task of `flexlora tasks`, or the path of a JSONL file of your own; a name with `*`, `?` or "
        "`[...]` is all tasks that it matches (`multipl-e/*`), and one that begins with `!` leaves out what it matches."
    )
    prompt_style: PromptStyle | None = Field(
        None,
        description="One of the task's own (`flexlora tasks`); null is the first: for mbpp `docstring` (or "
        "`three-shot`), for apps `original` (or `bigcode`), for multipl-e `stripped` (or `verbatim`).",
    )
    split: str | None = Field(
        None, description="One of the task's own, where it has any; null is the first: for mbpp `test`."
    )
    difficulty: tuple[Difficulty, ...] = Field(
        (), description="For `apps`: only problems of these difficulties; none named means all."
    )
    compat: bool = Field(
        False, description="For `apps`: compare outputs as its own harness does, which lets more pass."
    )
    limit: int | None = Field(None, ge=1, description="Evaluate the first so many problems only.")

    @field_validator("name")
    @classmethod
    def _one_place(cls, name: str) -> str:
        without, bare = ("!", name[1:]) if name.startswith("!") else ("", name)
        return without + absolute_if_local(bare) if bare.endswith(".jsonl") else name

    @field_validator("difficulty", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def task_from_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Sampling(Section):
    """How completions are drawn."""

    preset: Preset | None = Field(
        None,
        description="A published protocol: `greedy`; `pass@1` (n 20, temperature 0.2, top_p 0.95); `pass@100` (n 200, "
        "temperature 0.8, top_p 0.95, k [10, 100]). n and k may still be set.",
    )
    n: int = Field(1, ge=1, description="Completions per problem.")
    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling: keep the most likely tokens of this mass.")
    max_new_tokens: int = Field(512, ge=1, description="Longest completion in tokens.")
    batch_size: int = Field(16, ge=1, description="Completions generated at once.")
    k: tuple[Annotated[int, Field(ge=1)], ...] = Field((1,), min_length=1, description="Report pass@k for these k.")

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, values: Any) -> Any:
        return with_preset(values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if contradiction := against_preset(self.preset, dict(self)):
            raise ValueError(contradiction)
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


class Prompting(Section):
    """How problems are put to the model; a plain string is the style."""

    style: Literal["plain", "plan", "chat", "chat-plan"] = Field(
        "plain",
        description="`plain` is the benchmark's prompt; `plan` goes on with a plan in comments, then the code; `chat` "
        "asks an instruct model through its chat template, `chat-plan` for a plan first. The same for all models and "
        "tasks of a run.",
    )


class Selection(Section):
    """Choosing among several completions without the benchmark's tests; a plain list is the methods."""

    methods: tuple[Literal["codet", "majority", "logprob"], ...] = Field(
        (),
        description="`codet`: by agreement with tests that the model writes (arXiv 2207.10397); `majority`: by the "
        "commonest outputs on the inputs of those tests and of the prompt's examples; `logprob`: by the mean "
        "log-probability of the tokens. Reported beside pass@1, with the cost; needs sampling.n above 1.",
    )
    test_samples: int = Field(10, ge=1, description="Texts with tests that the model writes for each problem.")
    test_tokens: int = Field(256, ge=1, description="Longest of these texts in tokens.")
    temperature: float = Field(0.8, ge=0, description="At which tests are written; 0 writes one text only.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus sampling of the tests.")
    tests: int = Field(20, ge=1, description="Most different tests of a problem that are used, the commonest first.")
    score: Literal["product", "sqrt"] = Field(
        "product",
        description="Of a group of completions, for `codet`: `product` is their number times that of the different "
        "tests passed, as in the paper; `sqrt` takes the root of their number, and counts a test as often as it was "
        "written, as in the paper's published code.",
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods: {', '.join(self.methods)} names one twice")
        if self.temperature == 0 and self.test_samples > 1:
            raise ValueError(
                f"test_samples = {self.test_samples} texts written at temperature 0 would all be the same; set "
                "test_samples = 1 or a temperature above 0"
            )
        return self

    @property
    def writes_tests(self) -> bool:
        """Whether the model has to write tests."""
        return bool({"codet", "majority"} & set(self.methods))


class Repair(Section):
    """A second answer to what failed, reported apart from pass@1; a plain number is the rounds."""

    rounds: int = Field(
        0,
        ge=0,
        le=1,
        description="1: the model is shown each program of its that failed, with the error, and tries again.",
    )
    show: Literal["errors", "all"] = Field(
        "errors",
        description="What it is shown: `errors` is what a compiler says of its own lines, and in Python the exception, "
        "without the lines of the tests; `all` is the whole output, which shows it tests that it is then scored by.",
    )


def section_from(field: str, kinds: type | tuple[type, ...]) -> Any:
    """A validator that takes a plain value for the mapping with this one field."""

    def validate(value: Any) -> Any:
        return {field: value} if isinstance(value, kinds) and not isinstance(value, bool) else value

    return BeforeValidator(validate)


class Execution(Section):
    """How programs are run."""

    workers: int | None = Field(None, ge=1, description="Programs run at once; null is one per processor core.")
    overlap: bool | Literal["auto"] = Field(
        "auto",
        description="Run programs while completions are still being generated (not where several processes generate); "
        "auto: where a GPU or a server generates, so that generation does not share its cores.",
    )
