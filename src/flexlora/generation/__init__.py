"""Completions for problems, from transformers models or from a server."""

from flexlora.generation.decode import Completion, Prompt, decode
from flexlora.generation.served import refuse_unserved
from flexlora.generation.server import Server
from flexlora.generation.stage import (
    SampleFiles,
    complete,
    encode,
    generate_samples,
    request_samples,
    sample_seed,
)

__all__ = [
    "Completion",
    "Prompt",
    "SampleFiles",
    "Server",
    "complete",
    "decode",
    "encode",
    "generate_samples",
    "refuse_unserved",
    "request_samples",
    "sample_seed",
]
