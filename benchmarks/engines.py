"""Completions a second: the transformers engine beside `transformers serve` on loopback.

    python benchmarks/engines.py [problems]

The packaged model completes the tiny benchmark's problems in Java greedily, with one thread on each side.
What is timed is generation with its file, from the first request to the last line; loading and starting are left out.
The texts of all rows are compared. `transformers serve` works its requests off one by one, so this shows what the
protocol costs, not what a server that batches (vLLM, SGLang) gains. Needs `pip install 'transformers[serving]'`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import torch

from flexlora import models
from flexlora.data import Problem
from flexlora.files import read_appended
from flexlora.generation import Server, generate_samples, request_samples
from flexlora.recipe import Engine, ModelSource, Sampling
from flexlora.tiny import TINY_MODEL
from flexlora.tiny.benchmark import problems

BATCHES = (1, 32)
CONCURRENCIES = (1, 8)
NEW_TOKENS = 150


def main() -> None:
    """Time each way in turn and print a table."""
    torch.set_num_threads(1)
    models.quiet()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    asked = problems("A", "java", limit=count)
    source = ModelSource(name="tiny")
    model, tokenizer = models.load_model(source), models.load_tokenizer(source)
    print("| engine | completions/s | texts other than in the first row |\n|---|---|---|")
    first = None
    for batch in BATCHES:
        sampling = Sampling(max_new_tokens=NEW_TOKENS, batch_size=batch)

        def here(path: Path, sampling: Sampling = sampling) -> None:
            generate_samples(model, tokenizer, asked, sampling, 0, path, "here")

        first = row(f"transformers, batches of {batch}", here, asked, first)
    with serving() as url:
        for at_once in CONCURRENCIES:
            engine = Engine(name="openai", base_url=url, concurrency=at_once)

            def there(path: Path, engine: Engine = engine) -> None:
                with Server(engine) as server:
                    sampling = Sampling(max_new_tokens=NEW_TOKENS)
                    request_samples(server, engine, str(TINY_MODEL), asked, sampling, 0, path, "there")

            row(f"transformers serve, {at_once} at a time", there, asked, first)


def row(
    name: str, generate: Callable[[Path], None], asked: list[Problem], first: dict[str, str] | None
) -> dict[str, str]:
    """Time one way, and print its line; returns the texts that the others are compared with."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "samples.jsonl")
        started = time.perf_counter()
        generate(path)
        seconds = time.perf_counter() - started
        texts = {record["task_id"]: record["completion"] for record in read_appended(path)}
    assert len(texts) == len(asked)
    differ = sum(text != (first or texts)[key] for key, text in texts.items())
    print(f"| {name} | {len(asked) / seconds:.1f} | {differ} |", flush=True)
    return first or texts


@contextmanager
def serving() -> Iterator[str]:
    """A `transformers serve` with the packaged model and one thread."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(TINY_MODEL)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while True:
            if process.poll() is not None:
                sys.exit("transformers serve did not start; pip install 'transformers[serving]'")
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            except httpx2.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
