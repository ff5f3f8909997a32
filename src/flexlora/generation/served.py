"""Completions from a server: which models it must have, and the samples of problems, many requests at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from flexlora.data.types import Problem
from flexlora.errors import FlexError, UsageError
from flexlora.generation.decode import Completion
from flexlora.generation.server import Answer, Server
from flexlora.generation.streams import FinishReason
from flexlora.recipe import Sampling

SGLANG = "sglang"


@dataclass(frozen=True, slots=True)
class Asked:
    """One sample that a server is asked for."""

    problem: Problem
    sample: int
    seed: int


def refuse_unserved(server: Server, names: Mapping[str, str]) -> None:
    """Make sure that a server has the models.

    Args:
        names: what is evaluated, for the message -> the model's name on the server.

    Raises:
        UsageError: it does not answer, or lacks some; names them and what it has.
    """
    listed = server.listed()
    ids = [str(entry.get("id")) for entry in listed]
    for entry in listed:
        name, parent = entry.get("id"), entry.get("parent")
        if entry.get("owned_by") == SGLANG and parent and name in names.values():
            raise UsageError(
                f"engine.models: SGLang takes {name!r} alone for the base; write {parent}:{name} for the adapter."
            )
    lacking = {who: name for who, name in names.items() if name not in ids and not _is_pair(name, ids)}
    if lacking := {who: name for who, name in lacking.items() if not _answers_to(server, name)}:
        asked = ", ".join(f"{name!r} ({who})" for who, name in lacking.items())
        raise UsageError(
            f"{server.url} does not serve {asked}; it lists {', '.join(ids) or 'nothing'}. Start it with these "
            "models, or say what it calls them in engine.models."
        )


def _is_pair(name: str, ids: Sequence[str]) -> bool:
    """SGLang's BASE:ADAPTER."""
    base, _, adapter = name.rpartition(":")
    return base in ids and adapter in ids


def _answers_to(server: Server, name: str) -> bool:
    """Whether the server has a model that it does not list: `transformers serve`, which lists the hub's cache only.

    It answers in the name of NAME@REVISION; others may answer to any name with the one model that they have.
    """
    request = {"model": name, "prompt": "1", "max_tokens": 1, "temperature": 0}
    try:
        # Twice: a server may close the connection after the list that it failed to make.
        answer = server.complete(request, threading.Event(), retries=1)
    except FlexError:
        return False
    return answer.model.startswith(f"{name}@")


def completions(
    server: Server, model: str, asked: Sequence[Asked], sampling: Sampling, *, at_once: int, max_stops: int | None
) -> Iterator[Completion]:
    """Yield every sample that is asked for, each as soon as it is finished.

    Args:
        model: its name on the server.
        at_once: requests at a time.
        max_stops: most stop tokens to send.

    Raises:
        UsageError: the server refuses a request.
        FlexError: it no longer answers. What it had answered by then has been yielded.
    """
    requests = ((one, _request(model, one, sampling, max_stops)) for one in asked)
    for one, answer, stops in _answered(server, requests, min(at_once, len(asked))):
        text = one.problem.cut(answer.text)
        yield Completion(
            key=one.problem.task_id,
            sample=one.sample,
            text=text,
            finish_reason=_finish_reason(answer, text, stops),
            seed=one.seed,
        )


def complete(server: Server, model: str, prompt: str, sampling: Sampling) -> str:
    """The completion of one prompt, without stop tokens."""
    request = {"model": model, "prompt": prompt, **_drawn(sampling)}
    return server.complete(request, threading.Event()).text


def _request(model: str, one: Asked, sampling: Sampling, max_stops: int | None) -> dict[str, Any]:
    stops = list(one.problem.stop_tokens[:max_stops])
    body = {"model": model, "prompt": one.problem.prompt, "seed": one.seed, **_drawn(sampling)}
    return {**body, "stop": stops} if stops else body


def _drawn(sampling: Sampling) -> dict[str, Any]:
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }


def _finish_reason(answer: Answer, text: str, stops: bool) -> FinishReason:
    """`stop` also where the server does not tell a stop token, which it has cut off, from the model's own end."""
    if len(text) < len(answer.text):
        return "stop"
    if answer.finish_reason == "length":
        return "length"
    if answer.says_what_stopped:
        return "stop" if isinstance(answer.stopped_at, str) else "eos"
    return "stop" if stops else "eos"


def _answered(
    server: Server, requests: Iterable[tuple[Asked, dict[str, Any]]], threads: int
) -> Iterator[tuple[Asked, Answer, bool]]:
    """Every request with its answer and whether stop tokens were sent, in the order in which they are answered.

    After a failure no more are sent, and those on their way are waited for, so that no answer is lost.
    """
    waiting, lock, stopped = iter(requests), threading.Lock(), threading.Event()
    done: SimpleQueue[tuple[Asked, Answer, bool] | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    following = next(waiting, None)
                if following is None:
                    break
                one, body = following
                done.put((one, server.complete(body, stopped), "stop" in body))
        except BaseException as error:
            done.put(error)
        finally:
            done.put(None)

    for _ in range(threads):
        # Daemons: after Ctrl-C nobody waits for what is on its way.
        threading.Thread(target=work, daemon=True).start()
    failure: BaseException | None = None
    try:
        while threads:
            found = done.get()
            if found is None:
                threads -= 1
            elif isinstance(found, BaseException):
                failure = failure or found
                stopped.set()
            else:
                yield found
    finally:
        stopped.set()
    if failure is not None:
        raise failure
