"""What is built once for warm starts (a precompiled header, a compiler's classes), kept for all later runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from flexlora.errors import UsageError
from flexlora.execution.languages import get_language, toolchain, warm_folder
from flexlora.execution.sandbox import NOBODY, sandbox_command

LANGUAGES = Path(__file__).parent / "languages"
_lock = threading.Lock()
_ready: dict[str, Path] = {}


def default_folder() -> Path:
    """Where verdicts and warm builds are kept: FLEXLORA_CACHE, else the user's cache folder."""
    if named := os.environ.get("FLEXLORA_CACHE"):
        return Path(named)
    if os.geteuid() == 0:  # root's home is closed to the unprivileged user that a sandbox of root's runs as
        return Path("/var/cache/flexlora")
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flexlora"


def warm_binds(code: str) -> dict[str, str]:
    """What a sandbox must show for a language's warm start: path inside -> folder here. Builds it the first time.

    Raises:
        UsageError: the build fails; says why.
    """
    warm = get_language(code).warm
    if warm is None or warm.build is None:
        return {}
    with _lock:  # one build, however many workers need it
        if code not in _ready or not _ready[code].is_dir():
            _ready[code] = _built(code)
    return {warm_folder(code): str(_ready[code])}


def _built(code: str) -> Path:
    warm, tools = get_language(code).warm, toolchain(code)
    assert warm is not None
    assert warm.build is not None
    commands = warm.build(tools)
    sources = {Path(name).name: (LANGUAGES / name).read_bytes() for name in warm.sources}
    content = repr((commands, sources, tools.version, _stamps(tools.tools.values()))).encode()
    folder = default_folder() / "warm" / f"{code}-{hashlib.sha256(content).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{code}-", dir=folder.parent))
    except OSError as error:
        raise _failed(code, folder, str(error)) from error
    try:
        building.chmod(0o755)
        for name, source in sources.items():
            (building / name).write_bytes(source)
        if os.geteuid() == 0:
            os.chown(building, int(NOBODY), int(NOBODY))
        for command in commands:
            inside = warm_folder(code)
            done = subprocess.run(
                sandbox_command(["/bin/sh", "-c", f'cd {inside} && exec "$@"', "sh", *command],
                                binds={path: path for path in tools.binds} | {inside: str(building)}, writable=inside),
                capture_output=True, text=True, errors="replace", check=False, cwd="/", stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode != 0:
                raise _failed(code, folder, (done.stderr or done.stdout).strip()[-500:])
        if os.geteuid() == 0:
            os.chown(building, 0, 0)  # from now on nobody's programs could not write it, even if they saw it
        building.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            raise _failed(code, folder, str(error)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _stamps(tools: Iterable[str]) -> list[tuple[str, int]]:
    """An updated tool is another one, even where it says the same of itself."""
    return [(tool, Path(tool).stat().st_mtime_ns) for tool in sorted(tools)]


def _failed(code: str, folder: Path, why: str) -> UsageError:
    return UsageError(
        f"{code}: what warm starts need could not be built in {folder.parent} ({why}). Every user must be able to "
        "read that folder; FLEXLORA_CACHE names another one. `--mode cold` does without."
    )
