"""A stand-in for the Hugging Face hub, on loopback: serves the files of a folder as `kind/owner/name/...` repositories.

Only what the client libraries ask for when they load a public dataset or model: repository info, file trees, path
info and file contents. Every request is recorded, so that a test can show which revision was asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandInHub:
    """Serve `root/datasets/OWNER/NAME/...` and `root/models/OWNER/NAME/...` while the context is open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(body=True, posted=content)

            do_PUT = do_POST

            def _answer(self, body: bool, posted: bytes = b"") -> None:
                hub.requests.append(f"{self.command} {self.path}")
                status, headers, content = hub.respond(urlparse(self.path).path, posted)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> StandInHub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def respond(self, path: str, posted: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request. A revision may have slashes, which are quoted in the path."""
        if match := re.fullmatch(
            r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?", path
        ):
            kind, name, what, _, rest = map(unquote, match.groups(default=""))
            folder = self.root / kind / name
            if not folder.is_dir():
                return self._missing("RepoNotFound")
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            if what == "tree":
                listed = folder / rest.strip("/")
                if not listed.is_dir():
                    return self._missing("EntryNotFound")
                return self._json([self._entry(folder, item) for item in sorted(listed.iterdir())])
            if what == "paths-info":
                asked = json.loads(posted)["paths"] if posted.startswith(b"{") else []
                return self._json([self._entry(folder, f) for f in files if str(f.relative_to(folder)) in asked])
            siblings = [{"rfilename": str(f.relative_to(folder)), "size": f.stat().st_size} for f in files]
            return self._json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind, name, _, file = (unquote(part or "") for part in match.groups())
            found = self.root / ("datasets" if kind else "models") / name / file
            if not found.is_file():
                return self._missing("EntryNotFound")
            content = found.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "none"}, content
        return self._missing("EntryNotFound")

    @staticmethod
    def _entry(folder: Path, file: Path) -> dict[str, object]:
        if file.is_dir():
            return {"type": "directory", "path": str(file.relative_to(folder)), "oid": "0" * 40, "size": 0}
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": oid}

    @staticmethod
    def _json(value: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}, json.dumps(value).encode()

    @staticmethod
    def _missing(code: str) -> tuple[int, dict[str, str], bytes]:
        return 404, {"X-Error-Code": code}, b"{}"
