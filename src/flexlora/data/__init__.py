"""Datasets: one file each, yielding `Example` to train on, `Problem` to evaluate or `Text` to measure."""

from flexlora.data.types import Example, Problem, Text

__all__ = ["Example", "Problem", "Text"]
