"""Which process this is, and what a launcher was asked for."""

from pathlib import Path

import pytest

from flexlora import processes


def test_alone_everything_is_done_here() -> None:
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.once(lambda: 3) == 3
    assert processes.gathered("x") == ["x"]
    assert list(processes.mine([1, 2, 3])) == [1, 2, 3]


def test_parts_are_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(list(processes.mine("abcdefgh")))
    assert parts == [["a", "d", "g"], ["b", "e", "h"], ["c", "f"]]
    assert not processes.is_first()


def test_what_accelerate_was_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("distributed_type: MULTI_CPU\nnum_processes: 4\n")
    for command, expected in (
        (["accelerate", "launch", "--cpu", "--num_processes", "2", "-m", "flexlora"], 2),
        (["accelerate", "launch", "--num-processes=3", "-m", "flexlora"], 3),
        (["accelerate", "launch", "--config_file", str(config), "-m", "flexlora"], 4),
        (["accelerate", "launch", "-m", "flexlora"], 1),
    ):
        assert processes._asked_of_accelerate(command) == expected
