"""Completions for problems, from transformers models."""

from flexlora.generation.decode import Completion, Prompt, decode
from flexlora.generation.stage import SampleFiles, complete, encode, generate_samples, sample_seed

__all__ = ["Completion", "Prompt", "SampleFiles", "complete", "decode", "encode", "generate_samples", "sample_seed"]
