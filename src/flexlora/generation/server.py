"""A server that speaks OpenAI's completions protocol: what it serves, and one completion at a time, with patience.

A request that meets no server, too many others (429) or a failing server (5xx) is sent again after a pause that
doubles, drawn at random around that so that waiting requests do not come back together. Any other refusal is final.

The key comes from an environment variable and goes into one header; it is kept out of messages even where a server
repeats it.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from flexlora.errors import FlexError, UsageError
from flexlora.recipe import Engine

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CONNECT_S = 10.0
TOO_MANY = 429
FAILING = 500
REFUSED_KEY = (401, 403)
HERE = ("127.0.0.1", "::1", "localhost")
REASONS = ("stop", "length")
"""Why a whole completion ends; with anything else ("abort", "error") it is not whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion as the server gave it."""

    text: str
    finish_reason: str
    """`stop` or `length`."""
    stopped_at: str | int | None
    """The stop token or the id of the token that ended it, where the server says it (vLLM, SGLang)."""
    says_what_stopped: bool
    model: str
    """What the server calls the model that answered; empty where it does not say."""


class Server:
    """Connections to one server; usable from several threads."""

    def __init__(self, engine: Engine) -> None:
        """Connects to nothing yet.

        Raises:
            UsageError: the environment variable with the key is not set.
        """
        assert engine.base_url is not None
        self.url = engine.base_url
        self._engine = engine
        self._key = os.environ.get(engine.api_key_env, "") if engine.api_key_env else ""
        if engine.api_key_env and not self._key:
            raise UsageError(f"engine.api_key_env: the environment variable {engine.api_key_env} is not set.")
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(engine.timeout_s, connect=min(CONNECT_S, engine.timeout_s)),
            limits=httpx2.Limits(max_connections=engine.concurrency, max_keepalive_connections=engine.concurrency),
            trust_env=httpx2.URL(self.url).host not in HERE,  # no proxy leads to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def listed(self) -> list[dict[str, Any]]:
        """What the server lists as its models; empty where it keeps no list.

        Raises:
            UsageError: it does not answer, refuses the key, or is not a server of this kind.
        """
        try:
            response = self._client.get(f"{self.url}/models")
        except httpx2.TransportError as error:
            raise UsageError(
                f"engine.base_url: {self.url} does not answer ({_words(error)}). Start the server, or wait until it "
                "has loaded its model; the address is the one that ends in /v1."
            ) from error
        if response.status_code in REFUSED_KEY:
            raise UsageError(self._refusal(response))
        if response.status_code >= FAILING:
            return []  # `transformers serve` without a cache of the hub
        try:
            return [dict(entry) for entry in response.json()["data"]] if response.is_success else _raise()
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"engine.base_url: {self.url}/models answers {response.status_code} and lists no models; is this the "
                "address of an OpenAI-compatible server, with its /v1?"
            ) from error

    def complete(self, request: Mapping[str, Any], stopped: threading.Event, retries: int | None = None) -> Answer:
        """One completion.

        Args:
            request: the body, without fields of the recipe's own `engine.parameters`.
            stopped: set by who no longer wants an answer; no more tries are made then.
            retries: how often to send it again; None for as often as the recipe says.

        Raises:
            UsageError: the server refuses the request as it is.
            FlexError: no answer after all tries, or one that is no completion.
        """
        body = {**self._engine.parameters, **request}
        left = self._engine.retries if retries is None else retries
        tries = 0
        while True:
            tries += 1
            pause: float | None = None
            try:
                response = self._client.post(f"{self.url}/completions", json=body)
            except httpx2.TransportError as error:
                problem = _words(error)
            else:
                if response.is_success:
                    answer = _answer(response)
                    if answer is not None:
                        return answer
                    problem = f"an answer that is no whole completion: {self._said(response)}"
                elif response.status_code == TOO_MANY or response.status_code >= FAILING:
                    problem, pause = f"{response.status_code}: {self._said(response)}", _retry_after(response)
                else:
                    raise UsageError(self._refusal(response))
            if tries > left or stopped.is_set():
                raise FlexError(
                    f"{self.url} gave no completion in {tries} {'try' if tries == 1 else 'tries'}, at last: {problem}. "
                    "What was finished is kept: see to the server, and run the same command again. (A server that is "
                    "only slow: --set engine.timeout_s, engine.concurrency.)"
                )
            stopped.wait(_pause(tries) if pause is None else pause)

    def _refusal(self, response: httpx2.Response) -> str:
        said = f"{self.url} refuses ({response.status_code}): {self._said(response)}."
        if response.status_code in REFUSED_KEY:
            return f"{said} engine.api_key_env names the environment variable with the key."
        return (
            f"{said} What it takes: a prompt and sampling.max_new_tokens within its context, stop tokens up to "
            "engine.max_stops, engine.parameters that it knows, a model that it serves (engine.models)."
        )

    def _said(self, response: httpx2.Response) -> str:
        """What an answer says, short and without the key."""
        try:
            said = response.json()
        except ValueError:
            said = response.text
        for field in ("error", "message", "detail"):
            said = said.get(field, said) if isinstance(said, dict) else said
        words = str(said).replace(self._key, "[key]") if self._key else str(said)
        return " ".join(words.split())[:300].rstrip(".") or "nothing"


def _answer(response: httpx2.Response) -> Answer | None:
    """The completion in a successful answer; None where it holds none, or only a part of one."""
    try:
        whole = response.json()
        choice = whole["choices"][0]
        text, reason = choice["text"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(text, str) or reason not in REASONS:
        return None
    field = next((field for field in ("stop_reason", "matched_stop") if field in choice), None)
    stopped_at = choice[field] if field else None
    return Answer(text, reason, stopped_at, field is not None, str(whole.get("model", "")))


def _pause(tries: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.5)


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the server asks for."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_PAUSE_S) if asked.isdecimal() else None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _raise() -> list[dict[str, Any]]:
    raise ValueError
