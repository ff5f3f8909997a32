"""What a run ran on: versions and hardware, for `environment.json` and provenance. Imports none of what it names."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from flexlora.version import __version__

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "numpy",
    "scipy",
)


def describe() -> dict[str, Any]:
    """Versions of FLeX, Python and the libraries, the operating system and the number of cores."""
    return {
        "flexlora": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
