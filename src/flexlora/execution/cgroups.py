"""Limits that hold for all of a sandbox's processes together: a cgroup for each sandbox, where we may make one.

Version 1 or 2, whichever hierarchy has the memory and the pids controller. The cgroup is made below our own one, or
below the nearest of its parents where that works, so limits set on us hold for programs, too. Root usually may; an
ordinary user may where systemd delegates, as in `systemd-run --user --scope flexlora ...`. Elsewhere each process has
its resource limits alone.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OWN_BYTES = 128 << 20
"""Memory of the sandbox itself: supervisor, zygote, captured output."""
OWN_PROCESSES = 16
REMOVE_S = 10.0
"""How long the kernel may take to see that a cgroup's processes are gone; usually it is at once."""
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'
CONTROLLERS = ("memory", "pids")
NAME = re.compile(r"flexlora-(?P<pid>\d+)-[\da-f]+-\d+")
_started = f"{time.time_ns():x}"
"""Apart from an earlier process of the same number, as in a container that was started again."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """Where cgroups can be made for some controllers."""

    version: int
    controllers: tuple[str, ...]
    parent: Path


class Cgroup:
    """The cgroups of one sandbox, one for each place."""

    def __init__(self, places: Sequence[Place]) -> None:
        """Make them, without limits.

        Raises:
            OSError: the kernel refuses.
        """
        name = f"flexlora-{os.getpid()}-{_started}-{next(_numbers)}"
        self._made: list[tuple[Place, Path]] = []
        try:
            for place in places:
                folder = place.parent / name
                folder.mkdir()
                self._made.append((place, folder))
        except OSError:
            self.remove()
            raise

    def joining(self, command: Sequence[str]) -> list[str]:
        """The command that joins and then becomes `command`."""
        # A process of one thread that moves itself by `tasks` waits for nobody else; version 2 has no such file.
        files = (str(folder / ("tasks" if place.version == 1 else "cgroup.procs")) for place, folder in self._made)
        return ["/bin/sh", "-ec", JOIN, "sh", *files, "--", *command]

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Limit all processes together; swap space is none of theirs.

        Raises:
            OSError: the kernel refuses; so it does where more memory is used already.
        """
        for place, folder in self._made:
            if "memory" in place.controllers:
                for name, value in _memory_files(place.version, memory_bytes):
                    if (folder / name).exists():  # those of swap are there only if it is accounted for
                        (folder / name).write_text(value)
            if "pids" in place.controllers:
                (folder / "pids.max").write_text(str(processes))

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed as they used up the memory."""
        for place, folder in self._made:
            if "memory" in place.controllers:
                file = "memory.events" if place.version == 2 else "memory.oom_control"
                return int(dict(line.split() for line in (folder / file).read_text().splitlines())["oom_kill"])
        return 0

    def shared_bytes(self) -> int:
        """Memory of files in memory, which may outlive its processes; 0 where it is not known."""
        for place, folder in self._made:
            if "memory" in place.controllers:
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                return int(stat.get("shmem", 0))
        return 0

    def remove(self) -> None:
        """Remove them; all that was in them has ended, but the kernel may take a moment to notice."""
        for place, folder in self._made:
            deadline = time.monotonic() + REMOVE_S
            while True:
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        logging.getLogger(__name__).warning("%s cannot be removed: processes in it go on.", folder)
                        break
                    if place.version == 2:
                        with suppress(OSError):
                            (folder / "cgroup.kill").write_text("1")
                    time.sleep(0.001)
        self._made.clear()


def _memory_files(version: int, memory_bytes: int) -> list[tuple[str, str]]:
    if version == 2:
        return [("memory.max", str(memory_bytes)), ("memory.swap.max", "0")]
    # The limit of memory and swap may at no time be below that of memory.
    swap = "memory.memsw.limit_in_bytes"
    return [(swap, "-1"), ("memory.limit_in_bytes", str(memory_bytes)), (swap, str(memory_bytes))]


def in_force() -> dict[str, str]:
    """Controller -> what limits all processes of a sandbox together: `cgroup v1`, `cgroup v2`; absent: nothing."""
    return {controller: f"cgroup v{place.version}" for place in places() for controller in place.controllers}


@cache
def places() -> tuple[Place, ...]:
    """Where we can make cgroups, found out by doing so. What an ended process of ours left there is removed."""
    found: list[Place] = []
    try:
        own, mounts = Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ()  # a kernel without cgroups
    for version, controllers, folders in hierarchies(own, mounts):
        place = next((place for folder in folders if (place := _try(version, controllers, folder))), None)
        if place is not None:
            _sweep(place.parent)
            found.append(place)
    return tuple(found)


def hierarchies(own: str, mounts: str) -> Iterator[tuple[int, tuple[str, ...], list[Path]]]:
    """(version, controllers of ours, folders from our own cgroup up to the mount) of each hierarchy.

    Args:
        own: content of /proc/self/cgroup.
        mounts: content of /proc/self/mountinfo.
    """
    paths: Mapping[str, str] = {
        controller: path for _, names, path in (line.split(":", 2) for line in own.splitlines())
        for controller in names.split(",")
    }  # fmt: skip
    controllers: tuple[str, ...]
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind == "cgroup2":
            version, controllers, path = 2, CONTROLLERS, paths.get("", "/")
        elif kind == "cgroup" and (of_ours := tuple(name for name in CONTROLLERS if name in options.split(","))):
            version, controllers, path = 1, of_ours, paths.get(of_ours[0], "/")
        else:
            continue
        below = os.path.relpath(path, root)
        folder = Path(mount_point) if below.startswith("..") else Path(mount_point, below)
        yield version, controllers, [folder, *(p for p in folder.parents if p.is_relative_to(mount_point))]


def _try(version: int, controllers: tuple[str, ...], parent: Path) -> Place | None:
    """The place for as many of these controllers as work below `parent`; None where none does."""
    if version == 2:
        try:
            available = (parent / "cgroup.controllers").read_text().split()
            for name in set(controllers) & set(available):
                with suppress(OSError):  # refused where it is not ours, or where processes are in it
                    (parent / "cgroup.subtree_control").write_text(f"+{name}")
            enabled = (parent / "cgroup.subtree_control").read_text().split()
        except OSError:
            return None
        controllers = tuple(name for name in controllers if name in enabled)
    if not controllers:
        return None
    place = Place(version, controllers, parent)
    try:
        trial = Cgroup([place])
    except OSError:
        return None
    try:
        trial.limit(1 << 30, OWN_PROCESSES)
        done = subprocess.run(trial.joining(["/bin/true"]), capture_output=True, check=False, cwd="/")
        return place if done.returncode == 0 else None
    except OSError:
        return None
    finally:
        trial.remove()


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed left; the kernel keeps cgroups that are in use."""
    for folder in parent.glob("flexlora-*"):
        name = NAME.fullmatch(folder.name)
        if name and not Path("/proc", name["pid"]).exists():
            with suppress(OSError):
                folder.rmdir()
