"""What the tests of generated problems are worth: the share of wrong solutions that they catch.

Wrong solutions are references with one mistake (`mutants`). Tests are chosen with those in mind, so `others_caught`
measures a second kind: the references of other problems.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flexlora.execution import Program, execute
from flexlora.tiny.benchmark import cases_of
from flexlora.tiny.inputs import proposals
from flexlora.tiny.language import RENDERERS
from flexlora.tiny.language.interpret import Unfit, compiled
from flexlora.tiny.language.ir import Function, Parameter, Value
from flexlora.tiny.language.rendering import Case
from flexlora.tiny.mutants import caught, mutants
from flexlora.tiny.parts import Puzzle

TRIED = 600
"""Arguments on which a solution that passes its tests must agree with the reference to be counted as right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """How many solutions there were, and what became of them."""

    solutions: int
    caught: int
    """They fail a test."""
    right: int
    """They pass, and nothing tells them from the reference."""

    @property
    def share(self) -> float:
        """Of the wrong ones, those that are caught."""
        return self.caught / (self.solutions - self.right)


def mutants_caught(puzzles: Iterable[Puzzle]) -> Caught:
    """All mutants of some problems, run by the interpreter."""
    return _counted((puzzle, mutant.function) for puzzle in puzzles for mutant in mutants(puzzle.function))


def others_caught(puzzles: Sequence[Puzzle], each: int, seed: int = 0) -> Caught:
    """The references of `each` others with the same signature as solutions of each problem, run by the interpreter."""
    generator = random.Random(f"others/{seed}")
    kinds: dict[object, list[Puzzle]] = {}
    for puzzle in puzzles:
        kinds.setdefault(_signature(puzzle.function), []).append(puzzle)
    return _counted(
        (puzzle, other.function)
        for alike in kinds.values()
        for puzzle in alike
        for other in generator.sample(alike, min(each, len(alike)))
        if other is not puzzle
    )


def mutants_caught_by_running(puzzles: Sequence[Puzzle], language: str, number: int, seed: int = 0) -> Caught:
    """Some mutants of some problems, as programs that really run; none that would run without end.

    Raises:
        UsageError: the language's toolchain is missing.
    """
    generator = random.Random(f"mutants/{seed}")
    chosen: list[tuple[Puzzle, Function]] = []
    while len(chosen) < number:
        puzzle = generator.choice(puzzles)
        mutant = generator.choice(list(mutants(puzzle.function))).function
        if _ends(mutant, cases_of(puzzle)):
            chosen.append((puzzle, mutant))
    renderer = RENDERERS[language]
    programs = [
        Program(
            str(index),
            0,
            language,
            renderer.prompt(puzzle.function, "solution", "A mutant.")
            + (written if (end := written.find(renderer.stop_tokens[0])) < 0 else written[:end])
            + "\n"
            + renderer.tests(puzzle.function, "solution", cases_of(puzzle)),
        )
        for index, (puzzle, mutant) in enumerate(chosen)
        for written in [renderer.completion(mutant)]
    ]
    passed = [chosen[int(verdict.task_id)] for verdict in execute(programs) if verdict.passed]
    right = sum(not caught(mutant, _many(puzzle)) for puzzle, mutant in passed)
    return Caught(solutions=number, caught=number - len(passed), right=right)


def _counted(solutions: Iterable[tuple[Puzzle, Function]]) -> Caught:
    number = failed = right = 0
    for puzzle, solution in solutions:
        number += 1
        if caught(solution, cases_of(puzzle)):
            failed += 1
        elif not caught(solution, _many(puzzle)):
            right += 1
    return Caught(solutions=number, caught=failed, right=right)


def _many(puzzle: Puzzle) -> Iterator[Case]:
    """Arguments that the tests were not chosen from, and the values of the reference."""
    run, generator = compiled(puzzle.function), random.Random(f"many/{puzzle.key}")
    chosen = itertools.islice(proposals(puzzle.function, generator), TRIED // 2)
    anything = (
        tuple(_anything(parameter, generator) for parameter in puzzle.function.parameters) for _ in range(TRIED // 2)
    )
    for arguments in itertools.chain(chosen, anything):
        try:
            yield arguments, run(arguments)
        except Unfit:
            continue


def _anything(parameter: Parameter, generator: random.Random) -> Value:
    if parameter.kind == "str":
        return "".join(generator.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(generator.randint(0, 12)))
    if parameter.kind == "list":
        return tuple(generator.randint(parameter.low, parameter.high) for _ in range(generator.randint(0, 8)))
    return generator.randint(parameter.low, parameter.high)


def _ends(function: Function, cases: Iterable[Case]) -> bool:
    run = compiled(function)
    try:
        for arguments, _ in cases:
            run(arguments)
    except (Unfit, TypeError, KeyError):
        return False
    return True


def _signature(function: Function) -> object:
    return tuple((parameter.name, parameter.kind) for parameter in function.parameters), function.returns
