"""The part of a recipe that says which held-out texts are measured, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from flexlora.recipe.sections import Section, absolute_if_local


class Texts(Section):
    """Held-out texts whose likelihood is measured; a plain string is their dataset."""

    dataset: str = Field(
        description="`codesearchnet/LANG`; `humaneval`, `mbpp` or `tiny/SET/LANG` for their reference solutions; the "
        "path of a JSONL file, or the id of a hub dataset (`owner/name`)."
    )
    name: str = Field("", description="Name of the score; by default the dataset's, or the file's without `.jsonl`.")
    language: str | None = Field(None, description="Language of your own texts, e.g. `java`.")
    split: str | None = Field(None, description="Split (default: test), where the dataset has splits.")
    text_column: str | None = Field(
        None, description="For your own data without prompts: the column that holds the whole text."
    )
    prompt_column: str = Field("prompt", description="Column that holds the prompt, for your own data.")
    completion_column: str = Field("completion", description="Column that holds the scored text, for your own data.")
    config: str | None = Field(None, description="Configuration (subset) of a hub dataset.")
    revision: str | None = Field(None, description="Revision (commit, tag or branch) of a hub dataset.")
    limit: int | None = Field(None, ge=1, description="Measure the first so many texts only.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        value = {"dataset": value} if isinstance(value, str) else value
        if isinstance(value, dict) and isinstance(dataset := value.get("dataset"), str) and not value.get("name"):
            return {**value, "name": Path(dataset).stem if dataset.endswith(".jsonl") else dataset}
        return value

    @field_validator("dataset")
    @classmethod
    def _one_place(cls, dataset: str) -> str:
        return absolute_if_local(dataset) if dataset.endswith(".jsonl") else dataset


class Likelihood(Section):
    """The score without execution: how likely a model finds held-out texts. A plain list is its `texts`."""

    texts: tuple[Texts, ...] = Field((), description="What is measured, each a dataset or a mapping.")
    conditional: bool = Field(
        True,
        description="Score each text after its prompt (documentation, or description and signature); false scores the "
        "same text without it.",
    )
    max_length: int = Field(
        1024, ge=8, description="Longest prompt and text together in tokens; longer texts are scored up to there."
    )
    batch_tokens: int = Field(16384, ge=1, description="Tokens read at once, padding included.")

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"texts": value}
        if isinstance(value, dict) and value and "texts" not in value:
            raise ValueError("names no texts; name some, e.g. texts: [codesearchnet/java]")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [texts.name.replace("/", "--") for texts in self.texts]  # as their folders are called
        if doubled := sorted({t.name for t, name in zip(self.texts, names, strict=True) if names.count(name) > 1}):
            raise ValueError(f"texts: {doubled[0]!r} is listed twice; give one of them a name of its own")
        return self
