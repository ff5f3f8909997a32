"""A second answer: the model is shown its program that failed and what went wrong. Reported apart from pass@1."""

from flexlora.repair.message import what_went_wrong
from flexlora.repair.scores import Repaired, repaired
from flexlora.repair.stage import key_of, repair_problem

__all__ = ["Repaired", "key_of", "repair_problem", "repaired", "what_went_wrong"]
