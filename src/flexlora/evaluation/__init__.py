"""Scores: pass@k, likelihoods, intervals and paired comparisons, from verdicts and likelihoods to `summary.json`."""

from flexlora.evaluation.compare import Difference, compare
from flexlora.evaluation.likelihood import LikelihoodEntry, compare_functions, score_likelihoods
from flexlora.evaluation.passk import pass_at_k
from flexlora.evaluation.results import TaskResults, read_results
from flexlora.evaluation.runs import RunComparison, compare_runs
from flexlora.evaluation.schema import Comparison, Score, Summary, read_summary
from flexlora.evaluation.score import TaskScore, score
from flexlora.evaluation.summary import Entry, score_run

__all__ = [
    "Comparison",
    "Difference",
    "Entry",
    "LikelihoodEntry",
    "RunComparison",
    "Score",
    "Summary",
    "TaskResults",
    "TaskScore",
    "compare",
    "compare_functions",
    "compare_runs",
    "pass_at_k",
    "read_results",
    "read_summary",
    "score",
    "score_likelihoods",
    "score_run",
]
