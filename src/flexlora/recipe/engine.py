"""What generates completions: this process with transformers, or a server that speaks OpenAI's completions protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from flexlora.recipe.sections import Section
from flexlora.recipe.variant import AT

EngineName = Literal["transformers", "openai"]
OURS = frozenset({"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "n", "best_of", "stream",
                  "echo", "suffix"})  # fmt: skip
"""Fields of a request that the recipe says elsewhere, or that would change what an answer is."""


class Engine(Section):
    """What generates completions."""

    name: EngineName = Field(
        "transformers",
        description="`transformers`, in this process; or `openai`, a server with OpenAI's completions protocol.",
    )
    base_url: str | None = Field(
        None, description="For `openai`: where the server is, with its `/v1`, e.g. `http://127.0.0.1:8000/v1`."
    )
    models: dict[str, str] = Field(
        {},
        description="For `openai`: the names under which the server has the models, by `base`, ARM, `ARM/merged` or "
        "the baseline's name. By default the model's own name, and the arm's name; `merged` has no default.",
    )
    parameters: dict[str, Any] = Field(
        {}, description="For `openai`: further fields of every request, e.g. `{top_k: -1}` for vLLM."
    )
    max_stops: int | None = Field(
        None,
        ge=0,
        description="For `openai`: most stop tokens that the server takes (OpenAI's own: 4). Completions are cut at "
        "all of them here in any case.",
    )
    concurrency: int = Field(16, ge=1, description="For `openai`: requests at a time.")
    timeout_s: float = Field(600.0, gt=0, description="For `openai`: longest wait for one completion in seconds.")
    retries: int = Field(
        6, ge=0, description="For `openai`: how often a request is sent again that met no server, 429 or 5xx."
    )
    api_key_env: str | None = Field(
        None,
        description="For `openai`: the environment variable that holds the key; the key itself is written nowhere.",
    )

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an address of a server; write it like http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            # Said without the value, which would show the key.
            raise ValueError(
                "an address without user, password or query, as it is written into the run's files; keys belong into "
                "an environment variable that engine.api_key_env names"
            )
        return base_url.rstrip("/")

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OURS & parameters.keys()):
            raise ValueError(
                f"{', '.join(taken)} cannot be set here; the recipe's sampling says how completions are drawn"
            )
        return parameters

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == "openai" and self.base_url is None:
            raise ValueError("name: openai needs base_url, the server's address, e.g. http://127.0.0.1:8000/v1")
        if self.name == "transformers":
            for option, field in type(self).model_fields.items():
                if option != "name" and getattr(self, option) != field.default:
                    raise ValueError(f"{option} means nothing with name: transformers; it goes with name: openai")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether a server generates."""
        return self.name == "openai"

    def served_name(self, arm: str | None, variant: str, model: str) -> str | None:
        """The name under which the server has a variant; None for a merged one that none was given for."""
        if variant == "merged":
            return self.models.get(f"{arm}/merged")
        if arm is not None:
            return self.models.get(arm, arm)
        return self.models.get("base" if variant == "base" else model, model)

    def problems(self, variants: Sequence[str], arms: Sequence[str], baselines: Sequence[str]) -> list[str]:
        """What the names of models and what is evaluated do not agree on."""
        if not self.is_remote:
            return []
        merged = [f"{arm}/merged" for arm in arms]
        known = ["base", *arms, *merged, *baselines]
        found = [
            f"engine.models: {name!r} is nothing that is evaluated; there are {', '.join(known)}"
            for name in self.models
            if name not in known
        ]
        if part := [variant for variant in variants if variant.startswith(AT)]:
            found.append(
                f"variants: {', '.join(part)} is set in the loaded model, and engine openai has adapters as they were "
                "trained; use engine transformers, or leave it out"
            )
        unnamed = [name for name in merged if "merged" in variants and name not in self.models]
        if unnamed:
            found.append(
                "variants: merged with engine openai needs the merged model's name on the server: engine.models has no "
                f"{unnamed[0]!r} (flexlora merge makes a model that can be served)"
            )
        return found
