"""Cgroups: where they can be made, in either version, and that none is left."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from flexlora.execution import Mode, Program, cgroups
from flexlora.execution.cgroups import Cgroup, Place, hierarchies, in_force, places
from flexlora.execution.doctor import check
from flexlora.execution.judge import judge
from flexlora.execution.runner import Runner

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
"""
V2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
CONTAINER = "900 890 0:27 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"


def test_own_cgroups_and_their_parents_are_found_in_version_1() -> None:
    own = "8:pids:/a\n4:memory:/a/b\n1:cpu:/\n0::/\n"
    root = Path("/sys/fs/cgroup")
    assert list(hierarchies(own, V1)) == [
        (1, ("memory",), [root / "memory/a/b", root / "memory/a", root / "memory"]),
        (1, ("pids",), [root / "pids/a", root / "pids"]),
    ]


def test_own_cgroup_and_its_parents_are_found_in_version_2() -> None:
    root = Path("/sys/fs/cgroup")
    scope = "user.slice/user-1000.slice"
    assert list(hierarchies(f"0::/{scope}\n", V2)) == [
        (2, ("memory", "pids"), [root / scope, root / "user.slice", root])
    ]


@pytest.mark.parametrize(("own", "folder"), [("/docker/abc/x", "/sys/fs/cgroup/x"), ("/../other", "/sys/fs/cgroup")])
def test_only_what_is_mounted_counts_in_a_container(own: str, folder: str) -> None:
    ((_, _, folders),) = hierarchies(f"0::{own}\n", CONTAINER)
    assert folders[0] == Path(folder)


def test_nowhere_means_resource_limits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexlora.execution.cgroups.hierarchies", lambda *_: iter(()))
    monkeypatch.setattr("flexlora.execution.doctor.LANGUAGES", {})
    cgroups.places.cache_clear()
    try:
        assert in_force() == {}
        assert "memory of each process alone" in check()[0]["limits"]
        with closing(Runner(Mode.WARM)) as runner:
            program = Program("t", 0, "py", "assert 1 == 1")
            assert judge(program, runner.run(program)).passed
    finally:
        cgroups.places.cache_clear()


@pytest.fixture
def places_here() -> tuple[Place, ...]:
    if "memory" not in in_force():
        pytest.skip("no cgroup that limits memory can be made here")
    return places()


def made() -> list[Path]:
    return [path for place in places() for path in place.parent.glob(f"flexlora-{os.getpid()}-*")]


def test_a_cgroup_is_there_as_long_as_its_sandbox(places_here: tuple[Place, ...]) -> None:
    before = made()
    with closing(Runner(Mode.WARM)) as runner:
        program = Program("t", 0, "py", "assert 1 == 1")
        assert judge(program, runner.run(program)).passed
        assert len(made()) == len(before) + len(places_here)
    assert made() == before


def test_memory_of_all_processes_is_limited_by_the_language(places_here: tuple[Place, ...]) -> None:
    source = (
        "import os\nn = 0\nfor _ in range({n}):\n  if os.fork() == 0: x = bytearray(b'x') * 300_000_000; os._exit(0)\n"
    )
    source += "for _ in range({n}): n += os.wait()[1] != 0\nassert n == 0"
    with closing(Runner(Mode.WARM)) as runner:
        statuses = {}
        for n in (2, 12):
            program = Program("t", 0, "py", source.format(n=n))
            statuses[n] = judge(program, runner.run(program)).status
    assert statuses == {2: "OK", 12: "OutOfMemory"}


def test_what_a_killed_process_left_is_removed(places_here: tuple[Place, ...]) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    left = places_here[0].parent / f"flexlora-{ended.pid}-1-0"
    foreign = places_here[0].parent / "flexlora-mine"
    left.mkdir()
    foreign.mkdir()
    try:
        cgroups.places.cache_clear()
        places()
        assert not left.exists()
        assert foreign.exists()
    finally:
        foreign.rmdir()


def test_version_2_is_limited_by_its_own_files(tmp_path: Path) -> None:
    """In a folder that stands in for the hierarchy, as it may not be writable where the tests run."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    cgroup = Cgroup([Place(2, ("memory", "pids"), tmp_path)])
    (folder,) = tmp_path.glob("flexlora-*")
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (folder / name).touch()
    cgroup.limit(1 << 30, 20)
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == {"memory.max": str(1 << 30), "memory.swap.max": "0", "pids.max": "20"}
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 3\noom_group_kill 0\n")
    assert cgroup.oom_kills() == 3
    assert str(folder / "cgroup.procs") in cgroup.joining(["/bin/true"])
    for path in folder.iterdir():
        path.unlink()  # the kernel's files go with the folder
    cgroup.remove()
    assert list(tmp_path.glob("flexlora-*")) == []


def test_removing_waits_for_the_last_process(places_here: tuple[Place, ...]) -> None:
    cgroup = Cgroup(places_here)
    process = subprocess.Popen(cgroup.joining(["/bin/sleep", "0.3"]), cwd="/")
    time.sleep(0.1)
    cgroup.remove()
    process.wait()
    assert made() == []
