"""A stand-in for an OpenAI-compatible server, on loopback: it answers by rule, fails when told to, and dies.

Completions follow from model, prompt and seed alone, so that a resumed run can be compared with an undisturbed one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[dict[str, Any]], dict[str, Any]]
"""The fields of the choice that a request is answered with."""


def says(text: str, finish_reason: str = "stop", **more: Any) -> Rule:
    """Always the same choice."""
    return lambda request: {"text": text, "finish_reason": finish_reason, **more}


class StandInServer:
    """Serve completions while the context is open."""

    def __init__(
        self,
        rule: Rule,
        models: Sequence[dict[str, Any]] | None = (),
        *,
        failures: Sequence[int] = (),
        dies_after: int | None = None,
        key: str | None = None,
        names_revision: bool = False,
        gate: threading.Event | None = None,
    ) -> None:
        """Args:
        models: what it lists; None fails to list anything.
        failures: statuses that the first requests are answered with; 0 closes the connection.
        dies_after: requests that it answers before it answers none any more.
        key: that it wants to see.
        names_revision: answer in the name of MODEL@main.
        gate: requests are answered once it is set.
        """
        self.requests: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.failures, self.left = list(failures), dies_after
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if models is None:
                    self._send(500, {"detail": "no cache"})
                elif self._may():
                    self._send(200, {"object": "list", "data": list(models)})

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self._may():
                    return
                with server._lock:
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                    failure = server.failures.pop(0) if server.failures else None
                    dead = server.left is not None and server.left <= 0
                    if failure is None and not dead:
                        server.requests.append(request)
                        server.left = server.left and server.left - 1
                if gate is not None:
                    gate.wait()
                with server._lock:
                    server.at_once -= 1
                if failure == 0 or dead:
                    self.close_connection = True
                elif failure is not None:
                    self._send(failure, {"error": {"message": f"told to answer {failure}"}})
                else:
                    name = request["model"] + ("@main" if names_revision else "")
                    self._send(200, {"model": name, "choices": [{"index": 0, **rule(request)}]})

            def _may(self) -> bool:
                if key is None or self.headers["Authorization"] == f"Bearer {key}":
                    return True
                self._send(401, {"error": {"message": f"wrong key, not {self.headers['Authorization']}"}})
                return False

            def _send(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:  # a client that went away
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> StandInServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
