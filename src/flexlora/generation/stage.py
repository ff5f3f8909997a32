"""The generation stage: completions of a task's problems, appended to `samples.jsonl` as they are finished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlora import processes
from flexlora.data.types import Problem
from flexlora.files import Record, append_jsonl, read_appended
from flexlora.generation.decode import Completion, Prompt, decode
from flexlora.generation.served import Asked, completions
from flexlora.generation.server import Server
from flexlora.models import encode_chat, encode_prompt
from flexlora.progress import bar
from flexlora.recipe import Engine, Sampling


def sample_seed(seed: int, task: str, task_id: str, sample: int) -> int:
    """The seed of one sample: the same for every variant, so that variants are compared on the same draws."""
    digest = hashlib.sha256(f"{seed}\0{task}\0{task_id}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def encode(tokenizer: Any, problem: Problem) -> list[int]:
    """Ids of what the model is given: the prompt to be continued, or to be answered.

    Raises:
        UsageError: it is to be answered, and the tokenizer has no chat template.
    """
    return (encode_chat if problem.answer == "chat" else encode_prompt)(tokenizer, problem.prompt)


@dataclass(frozen=True)
class SampleFiles:
    """The files with an evaluation's samples: that of all, and, while several processes generate, one for each."""

    folder: Path
    stem: str = "samples"
    """What the files are called, without `.jsonl`."""
    key: tuple[str, ...] = ("task_id", "sample")
    """The fields of a record that tell it from others."""

    @property
    def all(self) -> Path:
        """Where every sample ends up."""
        return self.folder / f"{self.stem}.jsonl"

    @property
    def mine(self) -> Path:
        """Where this process writes."""
        return self.all if processes.count() == 1 else self.folder / f"{self.stem}.{processes.rank()}.jsonl"

    def take_in(self) -> None:
        """Move what the processes wrote to the file of all; called in one of them, while none writes."""
        known = {self._key(record) for record in read_appended(self.all)}
        for part in sorted(self.folder.glob(f"{self.stem}.*.jsonl")):
            for record in read_appended(part):
                if self._key(record) not in known:  # taken in already, by one that was killed
                    append_jsonl(self.all, record)
            part.unlink()

    def _key(self, record: Record) -> tuple[Any, ...]:
        return tuple(record[field] for field in self.key)


def generate_samples(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int,
    path: Path,
    label: str,
    elsewhere: Path | None = None,
) -> None:
    """Write `sampling.n` completions of every problem to `path`, those that are there already left alone.

    Args:
        elsewhere: another file whose completions are not made again.

    Raises:
        UsageError: a prompt does not fit the model, or the file is damaged.
        FlexError: out of GPU memory, or the disk is full.
    """
    done = _done(problems, path, elsewhere)
    samples = tuple(range(sampling.n))
    prompts = [
        Prompt(
            key=problem.task_id,
            ids=encode(tokenizer, problem),
            stop_tokens=problem.ends,
            samples=samples,
            seeds=tuple(sample_seed(seed, problem.task, problem.task_id, i) for i in samples),
        )
        for problem in problems
    ]
    made = decode(
        model,
        tokenizer,
        prompts,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        batch_size=sampling.batch_size,
        done=done,
    )
    _write(made, problems, path, label, len(problems) * sampling.n, len(done))


def request_samples(
    server: Server,
    engine: Engine,
    model: str,
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int,
    path: Path,
    label: str,
    elsewhere: Path | None = None,
) -> None:
    """`generate_samples` by a server, which has the model under the name `model`.

    Raises:
        UsageError: the server refuses a request, or the file is damaged.
        FlexError: the server no longer answers, or the disk is full.
    """
    done = _done(problems, path, elsewhere)
    asked = [
        Asked(problem, i, sample_seed(seed, problem.task, problem.task_id, i))
        for problem in problems
        for i in range(sampling.n)
        if (problem.task_id, i) not in done
    ]
    made = completions(server, model, asked, sampling, at_once=engine.concurrency, max_stops=engine.max_stops)
    _write(made, problems, path, label, len(problems) * sampling.n, len(done))


def _done(problems: Sequence[Problem], path: Path, elsewhere: Path | None) -> set[tuple[str, int]]:
    """The samples of these problems that are in the files."""
    there = [*read_appended(path), *(read_appended(elsewhere) if elsewhere not in (None, path) else ())]
    wanted = {problem.task_id for problem in problems}
    return {(record["task_id"], record["sample"]) for record in there if record["task_id"] in wanted}


def _write(
    made: Iterable[Completion],
    problems: Sequence[Problem],
    path: Path,
    label: str,
    total: int,
    done: int,
) -> None:
    """Append completions as they are made."""
    by_id = {problem.task_id: problem for problem in problems}
    with bar(label, total, done=done) as advance:
        for completion in made:
            append_jsonl(path, _record(by_id[completion.key], completion))
            advance()


def _record(problem: Problem, completion: Completion) -> dict[str, Any]:
    """The line of `samples.jsonl`: the text as the model wrote it and, of an answer, the code that was found in it."""
    extracted = {} if problem.answer == "completion" else {"extracted": problem.solution(completion.text)}
    return {
        "task_id": completion.key,
        "sample": completion.sample,
        "completion": completion.text,
        **extracted,
        "prompt_style": problem.prompt_style,
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "logprob": None if completion.logprob is None else round(completion.logprob, 5),
        "tokens": completion.tokens,
    }


def complete(model: Any, tokenizer: Any, prompt: str, sampling: Sampling, seed: int) -> list[str]:
    """Completions of one prompt, without stop tokens, in the order of the samples."""
    samples = tuple(range(sampling.n))
    asked = Prompt(
        key="prompt",
        ids=encode_prompt(tokenizer, prompt),
        stop_tokens=(),
        samples=samples,
        seeds=tuple(sample_seed(seed, "prompt", prompt, i) for i in samples),
    )
    made = decode(
        model,
        tokenizer,
        [asked],
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        batch_size=sampling.batch_size,
    )
    return [completion.text for completion in sorted(made, key=lambda c: c.sample)]
