"""Sophia-G: an optimizer that scales every step by the curvature, and the estimator of that curvature."""

from flexlora.optim.gauss_newton import GaussNewtonBartlett
from flexlora.optim.sampled import sample_labels
from flexlora.optim.sophia import Reference, SophiaG

__all__ = ["GaussNewtonBartlett", "Reference", "SophiaG", "sample_labels"]
