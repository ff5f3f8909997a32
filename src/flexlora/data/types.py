"""What datasets yield: `Example` to train on, `Problem` to evaluate, `Text` to measure the likelihood of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flexlora.data import answers, assembly
from flexlora.data.syntax import function_to_write
from flexlora.execution.cases import Cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training pair. The loss is taken on `completion` (and the end-of-sequence token) only."""

    source: str
    """Where it comes from, e.g. `mbpp`; with `key` it identifies the record."""
    key: str
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One evaluation problem: what the model is shown, where it stops, how a program is put together."""

    task: str
    task_id: str
    language: str
    prompt: str
    """Exactly the text given to the model."""
    prompt_style: str
    """How `prompt` was made from the record: `verbatim`, `stripped`, `docstring`, ...; with `+plan`, `+chat` or
    `+chat-plan` where `prompting` changed it."""
    stop_tokens: tuple[str, ...]
    prefix: str
    """What the program holds before the completion (the unstripped prompt, as a rule)."""
    suffix: str
    """What the program holds after the completion: the tests."""
    timeout_s: float | None = None
    """Time limit for running the program in seconds; None for the language's own."""
    reference: str | None = None
    """A solution as a completion, where the data has one."""
    original: str | None = None
    """The `task_id` of the problem that this one is a translation of."""
    cases: Cases | None = None
    """Tests with an input each, in place of tests in `suffix`."""
    part: str | None = None
    """Which part of the benchmark it belongs to, where parts are scored apart: APPS's difficulty."""

    answer: Literal["completion", "chat"] = "completion"
    """What the model gives: the rest of the program, or an answer to a question, in which there is code."""

    @property
    def opening(self) -> str:
        """What the prompt has of the program already; a program with cases is asked for in words, as a whole."""
        return self.prefix if self.cases is None else ""

    @property
    def ends(self) -> tuple[str, ...]:
        """What ends the generation: the stop tokens, or nothing but the model's own end of an answer."""
        return self.stop_tokens if self.answer == "completion" else ()

    def cut(self, completion: str) -> str:
        """The completion up to the earliest stop token, searched in the completion only."""
        ends = [at for stop in self.stop_tokens if (at := completion.find(stop)) >= 0]
        return completion[: min(ends)] if ends else completion

    def solution(self, completion: str) -> str:
        """The program without its tests: the one place where what a model wrote becomes code.

        A completion is cut at the first stop token and follows the prefix; of an answer the code is extracted.
        """
        if self.answer == "completion":
            return self.prefix + self.cut(completion)
        code = answers.code_of(completion, self.language, function_to_write(self.language, self.opening))
        if not self.opening:
            return self.prefix + code
        whole = assembly.solution(self.prefix, self.suffix, self.language, code)
        return whole if whole is not None else self.prefix + self.cut(assembly.body(self.prefix, self.language, code))

    def program(self, completion: str) -> str:
        """The whole program that is run: the solution, then the tests."""
        return self.solution(completion) + self.suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One held-out text whose likelihood is measured, mostly a function."""

    task: str
    """Name of the texts that it is one of."""
    task_id: str
    language: str
    prompt: str
    """What it is read after, e.g. its documentation; empty where there is nothing."""
    completion: str
    """The text that is scored."""
