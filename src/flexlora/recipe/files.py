"""Recipes in YAML files: found by path or packaged name, read, and overridden by `--set`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from flexlora.errors import UsageError
from flexlora.recipe.schema import Recipe, build, merged


def packaged() -> dict[str, Path]:
    """Packaged recipes by name, e.g. `mbpp-java` or `paper/round1-mbpp`."""
    root = Path(str(resources.files("flexlora") / "recipes"))
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}
    return {name: path for name, path in found.items() if not name.startswith("studies/")}


def packaged_studies() -> dict[str, Path]:
    """Packaged studies by name; they are no recipes, and stand in a folder of their own."""
    root = Path(str(resources.files("flexlora") / "recipes" / "studies"))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}


def is_study(values: Mapping[str, Any]) -> bool:
    """Whether the mapping of a YAML file is a study's, which names the recipe that a recipe would be."""
    return "recipe" in values


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
    if recipe in packaged_studies():
        raise _is_a_study(recipe)
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
    if is_study(values):
        raise _is_a_study(str(recipe))
    values.setdefault("name", path.stem)
    given = list(overrides)
    for override in given:
        values = merged(values, parse_override(override))
    source = f"recipe {path}" + "".join(f" with --set {override}" for override in given)
    return build(values, where="", source=source)


def _is_a_study(name: str) -> UsageError:
    return UsageError(f"{name}: a study, which is many runs; `flexlora study run {name}` runs it.")


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
        raise UsageError(f"{path}: a recipe or study is a mapping of keys to values, found {type(values).__name__}.")
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
