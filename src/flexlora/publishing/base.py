"""The base of what is exported: its name for others, its revision, and its licence as its own card states it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CardData, HfApi, ModelCard, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is not in its __all__
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
)

from flexlora import models
from flexlora.errors import UsageError
from flexlora.publishing.portable import portable
from flexlora.recipe import EMBEDDED, ModelSource, Recipe

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SNAPSHOT = re.compile(r".*/models--(?P<owner>.+?)--(?P<name>.+)/snapshots/(?P<revision>[0-9a-f]{40})/?")
"""Where the hub's cache keeps a model."""
LICENCE_KEYS = ("license", "license_name", "license_link")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The base, as others are to find it."""

    source: ModelSource
    """How it is loaded here."""
    name: str
    """Its hub id, `tiny`, or the name of its folder."""
    hub_id: str | None
    """None for `tiny`, and for a folder of which nobody said where it is from."""
    revision: str | None
    sha256: str | None
    """Of its weights, where it was a folder."""
    licence: dict[str, str]
    """Keys of its card: `license`, `license_name`, `license_link`; empty where they are not known."""

    @property
    def embedded(self) -> bool:
        """Whether it is the model that comes with FLeX, and not a folder of the same name."""
        return self.source.name == EMBEDDED

    @property
    def adapter_name(self) -> str | None:
        """What an adapter's configuration names; None rather than a folder that others do not have."""
        return self.hub_id or (EMBEDDED if self.embedded else None)


def describe_base(recipe: Recipe, recorded: Mapping[str, Any], given: str | None = None) -> Base:
    """The base of a run.

    Args:
        recipe: of the run.
        recorded: the base's identity, as the run wrote it down.
        given: the hub id that the user says a local base has.

    Raises:
        UsageError: `given` is no hub id, or the base has one already.
    """
    source = recipe.source(recipe.model)
    hub_id, revision = (None if _is_local(recipe.model) else recipe.model), recorded["revision"]
    if hub_id is None and (cached := SNAPSHOT.fullmatch(recipe.model)):
        hub_id, revision = f"{cached['owner']}/{cached['name']}", cached["revision"]
    if given is not None:
        _check_given(given, hub_id or (EMBEDDED if recipe.model == EMBEDDED else None))
        hub_id = given
    if revision is not None:
        source = source.model_copy(update={"revision": None if _is_local(recipe.model) else revision})
    return Base(
        source=source,
        name=hub_id or portable(recipe.model),
        hub_id=hub_id,
        revision=revision,
        sha256=recorded["sha256"],
        licence=_licence(models.place(source), hub_id, revision),
    )


def _is_local(model: str) -> bool:
    return model == EMBEDDED or model.startswith("/")


def _check_given(given: str, known: str | None) -> None:
    if not HUB_ID.fullmatch(given):
        raise UsageError(f"--base {given}: give OWNER/NAME, as the hub has it.")
    if known not in (None, given):
        raise UsageError(f"--base {given}: the run's base is {known}; --base is for one that was a local folder.")


def _licence(place: str, hub_id: str | None, revision: str | None) -> dict[str, str]:
    data = _card_data(Path(place) / "README.md") if Path(place).is_dir() else None
    if hub_id is not None and (data is None or not data.get("license")):
        cached = try_to_load_from_cache(hub_id, "README.md", revision=revision)
        data = _card_data(Path(cached)) if isinstance(cached, str) else _hub_card_data(hub_id, revision)
    found = {key: data.get(key) for key in LICENCE_KEYS} if data is not None else {}
    return {key: str(value) for key, value in found.items() if value} if found.get("license") else {}


def _card_data(card: Path) -> CardData | None:
    try:
        return ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (OSError, ValueError, yaml.YAMLError):
        return None  # no card, or one that is damaged: it is not ours to mend


def _hub_card_data(hub_id: str, revision: str | None) -> CardData | None:
    try:
        return HfApi().model_info(hub_id, revision=revision, timeout=10).card_data
    except (HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled):
        return None
