"""What datasets yield: `Example` to train on, `Problem` to evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flexlora.data import answers, assembly
from flexlora.data.syntax import function_to_write


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
    """How `prompt` was made from the record: `verbatim`, `stripped`, `docstring` or `three-shot`; with `+plan`, `+chat`
    or `+chat-plan` where `prompting` changed it."""
    stop_tokens: tuple[str, ...]
    prefix: str
    """What the program holds before the completion (the unstripped prompt, as a rule)."""
    suffix: str
    """What the program holds after the completion: the tests."""
    timeout_s: float | None = None
    """Time limit for running the program in seconds; None for the language's own."""

    answer: Literal["completion", "chat"] = "completion"
    """What the model gives: the rest of the program, or an answer to a question, in which there is code."""

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
        code = answers.code_of(completion, self.language, function_to_write(self.language, self.prefix))
        whole = assembly.solution(self.prefix, self.suffix, self.language, code)
        return whole if whole is not None else self.prefix + self.cut(assembly.body(self.prefix, self.language, code))

    def program(self, completion: str) -> str:
        """The whole program that is run: the solution, then the tests."""
        return self.solution(completion) + self.suffix
