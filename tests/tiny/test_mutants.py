"""Mutants, and that the tests of the sets catch them: by the interpreter, and as programs that really run."""

from __future__ import annotations

import random

import pytest

from flexlora.execution import require
from flexlora.tiny.language.ir import Compare, ForEach, Function, If, Let, Num, Parameter, Return, Update, Var
from flexlora.tiny.mutants import caught, mutants
from flexlora.tiny.quality import Caught, mutants_caught, mutants_caught_by_running, others_caught
from flexlora.tiny.sets import SETS, puzzles

TOTAL, V = Var("total"), Var("v")
SUM = Function(
    (Parameter("values", "list"),),
    "int",
    (
        Let("total", "int", Num(0)),
        ForEach("v", "int", Var("values"), (If(Compare(">", V, Num(3)), (Update("total", "+=", V),)),)),
        Return(TOTAL),
    ),
)


def test_mutants_are_one_mistake_each() -> None:
    made = list(mutants(SUM))
    assert {mutant.mistake for mutant in made} >= {
        *("constant", "comparison", "reduction", "condition left out", "condition negated"),
        *("one pass only", "statement left out"),
    }
    assert len({mutant.function for mutant in made} - {SUM}) == len(made)


def test_a_test_catches_what_gives_another_value_or_none() -> None:
    cases = [(((4, 3),), 4), (((5, 4),), 9)]
    assert not caught(SUM, cases)
    fine = [mutant.mistake for mutant in mutants(SUM) if not caught(mutant.function, cases)]
    assert fine == ["comparison"] or not fine
    assert [m.mistake for m in mutants(SUM) if not caught(m.function, [(((),), 0)])] != []


def test_truth_is_not_one() -> None:
    function = Function((Parameter("n", "int"),), "bool", (Return(Num(1)),))
    assert caught(function, [((1,), True)])


@pytest.mark.parametrize("set_name", SETS)
def test_nearly_all_mutants_are_caught(set_name: str) -> None:
    sample = random.Random(0).sample(puzzles(set_name, "test"), 120)
    found = mutants_caught(sample)
    assert found.solutions > 1500
    assert found.right < 0.1 * found.solutions
    assert found.share > 0.99


def test_solutions_of_other_problems_fail() -> None:
    found = others_caught([puzzle for set_name in SETS for puzzle in puzzles(set_name, "test")], each=6)
    assert found.solutions > 5000
    assert found.share > 0.995


@pytest.mark.parametrize("language", ["py", "js"])
def test_mutants_fail_when_they_really_run(language: str) -> None:
    require({language})
    found = mutants_caught_by_running(puzzles("A", "test") + puzzles("B3", "test"), language, 40)
    assert isinstance(found, Caught)
    assert found.caught + found.right >= 39
