"""`Study`: a recipe, the arms, grid and seeds to run it over, and the comparisons that were fixed beforehand."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from flexlora.recipe import Section


def _numbered(value: Any) -> Any:
    """`8` as the seeds 0 to 7."""
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_numbered), Field(min_length=1)]


class Primary(Section):
    """The one comparison that the study was made for."""

    config: str = Field(description="The configuration in question, e.g. `factors` or `factors lam=0.02`.")
    against: str = Field(description="What it is compared with: another configuration.")
    tasks: tuple[str, ...] = Field(min_length=1, description="On these tasks; corrected together.")
    variant: str = Field("adapter", description="Of both.")


class Tradeoff(Section):
    """What is won on one side and kept on the other, by every arm along a curve."""

    gain: tuple[str, ...] = Field(
        min_length=1, description="Tasks of the source language: what training is to improve."
    )
    retention: tuple[str, ...] = Field(min_length=1, description="Tasks of the target languages: what it may cost.")


class Analysis(Section):
    """What is compared, fixed before anything is run."""

    against: tuple[str, ...] = Field(
        (), description="Configurations that every other one is compared with; none named means the first arm's."
    )
    primary: Primary | None = Field(None, description="The primary comparison.")
    confirmatory: tuple[str, ...] = Field(
        (), description="Configurations whose comparisons are corrected together; all others are exploratory."
    )
    tradeoff: Tradeoff | None = Field(None, description="The two sides of the trade-off curves.")
    k: int = Field(1, ge=1, description="Of pass@k.")


class PaperFigure(Section):
    """One figure of a paper, to stand beside the study's own."""

    config: str = Field(description="Configuration; `base` is the model as it is.")
    measure: str = Field(description="A task (pass@1 in %), or `validation_loss`, `train_minutes`, `peak_memory_mb`.")
    variant: str = Field("adapter", description="Of the configuration.")
    value: float = Field(description="As printed there.")
    note: str = Field("", description="What must be said beside it.")


class Paper(Section):
    """A paper's figures, shown beside the study's own where the model is the paper's."""

    model: str = Field(description="They are shown for this model only.")
    source: str = Field(description="Paper and table.")
    figures: tuple[PaperFigure, ...] = Field(min_length=1, description="The figures.")


class Study(Section):
    """A study: one recipe over arms, a grid and seeds."""

    documented: ClassVar[str] = "docs/studies"

    name: str = Field("", description="Name of the study; by default its file's.")
    description: str = Field("", description="One line on what it is for.")
    recipe: str | dict[str, Any] = Field(description="A packaged recipe's name, a path, or a recipe written out.")
    set: dict[str, Any] = Field({}, description="Laid over the recipe, in nested keys.")
    arms: dict[str, dict[str, Any]] = Field(
        {},
        description="Instead of the recipe's arms; none means the recipe's. "
        "An arm's `lora.init_adapter` may be `cell:ARM`: the adapter of that arm's cell with the same seed.",
    )
    grid: dict[str, tuple[Any, ...] | dict[str, Any]] = Field(
        {},
        description="Dotted key of the recipe -> its values, or name -> value where values are long. Every arm is run "
        "at every point; where an arm sets a key itself, its own value holds, and the key makes no more points of it.",
    )
    seeds: Seeds = Field((0,), description="A list, or how many.")
    seeds_of: dict[str, Seeds] = Field({}, description="Arm -> its seeds, where they are others.")
    analysis: Analysis = Field(Analysis(), description="What is compared.")
    paper: Paper | None = Field(None, description="Figures to show beside the study's own.")

    @field_validator("grid")
    @classmethod
    def _has_values(cls, grid: dict[str, Any]) -> dict[str, Any]:
        if empty := [key for key, values in grid.items() if not values]:
            raise ValueError(f"{', '.join(empty)}: no values; name some, or leave the key out")
        return grid

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seeds = {"seeds": self.seeds, **{f"seeds_of.{arm}": own for arm, own in self.seeds_of.items()}}
        if twice := [key for key, own in seeds.items() if len(set(own)) < len(own)]:
            raise ValueError(f"{', '.join(twice)}: a seed stands twice")
        return self


Executor = Literal["local", "ray"]
