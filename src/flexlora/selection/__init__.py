"""Choosing among a problem's completions without the benchmark's tests, and what the choice is worth."""

from flexlora.selection.clusters import Group, by_agreement, by_logprob, by_outputs
from flexlora.selection.question import Question, question
from flexlora.selection.scores import Selected
from flexlora.selection.written_tests import WRITTEN, WrittenTest, ask_for_tests, inputs_in, read_tests

__all__ = [
    "WRITTEN",
    "Group",
    "Question",
    "Selected",
    "WrittenTest",
    "ask_for_tests",
    "by_agreement",
    "by_logprob",
    "by_outputs",
    "inputs_in",
    "question",
    "read_tests",
]
