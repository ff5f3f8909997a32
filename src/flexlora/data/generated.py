"""The generated benchmarks, `tiny/SET/LANG`: the demo's sets `a` and `b`, and the sets `A`, `B1`, `B2` and `B3`."""

from __future__ import annotations

from flexlora.data.source import Origin
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.tiny import benchmark, sets
from flexlora.tiny import problems as demo
from flexlora.version import __version__


def known() -> list[str]:
    """The names of all generated tasks, which are the datasets' too."""
    first = [f"tiny/{set_name}/{language}" for set_name in demo.SETS for language in demo.LANGUAGES]
    return first + [f"tiny/{set_name}/{language}" for set_name in sets.SETS for language in benchmark.LANGUAGES]


def load_problems(name: str, split: str) -> tuple[list[Problem], Origin]:
    """The problems of a generated task.

    Raises:
        UsageError: there is no such set, language or split.
    """
    set_name, language = _parts(name)
    made = (demo if set_name in demo.SETS else benchmark).problems(set_name, language, split)
    return made, _origin(name, len(made))


def load_examples(name: str, split: str) -> tuple[list[Example], Origin]:
    """The training pairs of a generated dataset.

    Raises:
        UsageError: there is no such set, language or split.
    """
    set_name, language = _parts(name)
    made = (demo if set_name in demo.SETS else benchmark).examples(set_name, language, split)
    return made, _origin(name, len(made))


def _parts(name: str) -> tuple[str, str]:
    set_name, _, language = name.removeprefix("tiny/").partition("/")
    if set_name not in (*demo.SETS, *sets.SETS):
        raise UsageError(f"{name}: no set {set_name!r}; there are {', '.join((*demo.SETS, *sets.SETS))}.")
    return set_name, language


def _origin(name: str, records: int) -> Origin:
    return Origin(source=name, revision=f"flexlora {__version__}", sha256=None, records=records)
