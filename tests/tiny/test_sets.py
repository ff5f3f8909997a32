"""The families and sets: how many problems there are, that none is there twice, and what the sets have apart."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from flexlora.errors import UsageError
from flexlora.tiny.families import computation
from flexlora.tiny.parts import Puzzle
from flexlora.tiny.sets import SETS, SPLITS, held_out_constants, is_held_out, puzzles

EVERYTHING = [(set_name, split) for set_name in SETS for split in SPLITS]


def every() -> list[Puzzle]:
    return [puzzle for set_name, split in EVERYTHING for puzzle in puzzles(set_name, split)]


def test_there_are_over_ten_thousand_problems_of_every_family() -> None:
    families = Counter(puzzle.family.split("/")[0] for puzzle in every())
    assert families.total() > 10_000
    assert families.keys() == {
        *("list", "range", "digits", "between", "composed", "question", "position", "string"),
        *("steps", "choice", "pair", "structure"),
    }
    assert min(families.values()) >= 500
    assert len(puzzles("A", "train")) > 10_000
    for set_name in SETS:
        assert len(puzzles(set_name, "test")) == 300
        assert len(puzzles(set_name, "validation")) == 200
        assert len(puzzles(set_name, "train")) >= 1000


def test_no_two_problems_have_one_key_or_compute_alike() -> None:
    problems = every()
    assert len({puzzle.key for puzzle in problems}) == len(problems)
    assert len({computation(puzzle) for puzzle in problems}) == len(problems)


def test_every_description_is_one_problems() -> None:
    owner: dict[str, str] = {}
    for set_name, split in EVERYTHING:
        for puzzle in puzzles(set_name, split):
            for description in puzzle.descriptions(novel=set_name == "B1"):
                assert owner.setdefault(description, puzzle.key) == puzzle.key
                assert "\n" not in description
                assert description.isascii()
                assert description.endswith(".")
    assert len(owner) > 20 * len(every())


def test_a_drawn_description_is_one_of_all() -> None:
    generator = random.Random(0)
    for set_name in SETS:
        for puzzle in puzzles(set_name, "validation")[:30]:
            novel = set_name == "B1"
            assert puzzle.describe(generator, novel=novel) in set(puzzle.descriptions(novel=novel))


def test_training_has_no_held_out_combination_and_no_held_out_constant() -> None:
    skeletons = {puzzle.skeleton for puzzle in puzzles("A", "train")}
    constants = {(part.op, part.constant) for puzzle in puzzles("A", "train") for part in puzzle.parts}
    for split in ("validation", "test"):
        reasons = Counter(map(is_held_out, puzzles("A", split)))
        assert reasons["combination"] == reasons["constant"] == len(puzzles("A", split)) // 2
        for puzzle in puzzles("A", split):
            if is_held_out(puzzle) == "combination":
                assert puzzle.skeleton not in skeletons
            else:
                assert {(part.op, part.constant) for part in puzzle.parts} - constants


def test_held_out_problems_are_of_many_kinds() -> None:
    held_out = puzzles("A", "validation") + puzzles("A", "test")
    combinations = Counter(puzzle.skeleton for puzzle in held_out if is_held_out(puzzle) == "combination")
    constants = Counter(held_out_constants(puzzle)[0] for puzzle in held_out if is_held_out(puzzle) == "constant")
    assert len(combinations) > 80
    assert len(constants) > 40
    assert max(combinations.values()) <= 6
    assert max(constants.values()) <= 10


def test_known_problems_have_no_new_part_and_new_ones_exactly_one() -> None:
    for set_name, split in EVERYTHING:
        new = {puzzle.new for puzzle in puzzles(set_name, split)}
        assert new == ({()} if set_name in ("A", "B1") else {(set_name,)})


def test_every_new_part_is_trained_and_tested_on() -> None:
    for set_name in ("B2", "B3"):
        parts = {
            split: {part.op for puzzle in puzzles(set_name, split) for part in puzzle.parts if part.new}
            for split in SPLITS
        }
        assert parts["test"] <= parts["train"]
        assert len(parts["test"]) > 0.8 * len(parts["train"])


def test_new_words_are_nowhere_else() -> None:
    others = {
        word
        for set_name in ("A", "B2", "B3")
        for split in SPLITS
        for puzzle in puzzles(set_name, split)
        for description in (puzzle.describe(random.Random(0)), puzzle.describe(random.Random(1)))
        for word in description.rstrip(".").replace(",", "").split()
    }
    for puzzle in puzzles("B1", "test"):
        for description in puzzle.descriptions(novel=True):
            words = description.rstrip(".").replace(",", "").split()
            assert set(words) - others or "in the table of" in description or "short of" in description, description


def test_the_sets_are_the_same_everywhere() -> None:
    """A change here changes the benchmark: scores are no longer comparable, so the version has to say so."""
    keys = "\n".join(f"{name} {split} {p.key}" for name, split in EVERYTHING for p in puzzles(name, split))
    assert hashlib.sha256(keys.encode()).hexdigest()[:16] == "072d77af19080bd2"


@pytest.mark.parametrize(("set_name", "split"), [("a", "test"), ("C", "test"), ("A", "dev")])
def test_what_there_is_not_is_refused(set_name: str, split: str) -> None:
    with pytest.raises(UsageError, match="there are"):
        puzzles(set_name, split)
