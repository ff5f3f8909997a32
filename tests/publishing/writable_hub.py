"""A stand-in hub that takes uploads: every byte is checked against the hash that it was announced with."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from standin_hub import COMMIT, StandInHub

TOKEN = "hf_standin"
Answer = tuple[int, dict[str, str], bytes]


class WritableHub(StandInHub):
    """Serves and takes model repositories under `root/models/OWNER/NAME`."""

    def __init__(self, root: Path, role: str = "write") -> None:
        super().__init__(root)
        self.role = role
        self.commits: list[list[str]] = []
        """The files of each commit."""
        self.visibility: dict[str, str] = {}
        self.stored: dict[str, bytes] = {}
        """Large files, by their hash."""
        self.failing: str | None = None
        """Requests whose path holds this fail."""

    def respond(self, path: str, posted: bytes) -> Answer:
        if self.failing is not None and self.failing in path:
            return 400, {}, b'{"error": "out of order"}'
        if path == "/api/whoami-v2":
            return self._json({"name": "me", "orgs": [], "auth": {"accessToken": {"role": self.role}}})
        if path == "/api/validate-yaml":
            data = ModelCard(json.loads(posted)["content"]).data
            assert data.pipeline_tag == "text-generation"
            return self._json({"warnings": [], "errors": []})
        if path == "/api/repos/create":
            return self._create(json.loads(posted))
        if path.startswith("/lfs/"):
            oid = path.removeprefix("/lfs/")
            assert hashlib.sha256(posted).hexdigest() == oid
            self.stored[oid] = posted
            return 200, {}, b""
        if match := re.fullmatch(r"/api/models/(\w+/[\w-]+)/(preupload/main|commit/main|auth-check/write)", path):
            name, what = match.groups()
            return {"p": self._preupload, "c": self._commit, "a": self._may_write}[what[0]](
                self.root / "models" / name, posted
            )
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(posted)["objects"])
        status, headers, content = super().respond(path, posted)
        if (match := re.fullmatch(r"/api/models/(\w+/[\w-]+)", path)) and status == 200:
            content = json.dumps(json.loads(content) | {"private": self.visibility.get(match[1]) == "private"}).encode()
        return status, headers, content

    def _create(self, asked: dict[str, Any]) -> Answer:
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.url}/{name}"}
        if (self.root / "models" / name).is_dir():
            return 409, {}, json.dumps(url).encode()
        (self.root / "models" / name).mkdir(parents=True)
        self.visibility[name] = asked.get("visibility", "public")
        return self._json(url)

    def _may_write(self, folder: Path, posted: bytes) -> Answer:
        return self._json({}) if folder.parent.name == "me" else (403, {}, b'{"error": "Forbidden"}')

    def _preupload(self, folder: Path, posted: bytes) -> Answer:
        return self._json({"files": [self._mode(folder, one["path"]) for one in json.loads(posted)["files"]]})

    @staticmethod
    def _mode(folder: Path, path: str) -> dict[str, Any]:
        large = path.endswith((".safetensors", ".png"))
        oid = None
        if (folder / path).is_file():
            content = (folder / path).read_bytes()
            oid = hashlib.sha256(content).hexdigest() if large else _git_hash(content)
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _batch(self, objects: list[dict[str, Any]]) -> Answer:
        wanted = [
            one
            if one["oid"] in self.stored
            else {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
            for one in objects
        ]
        return self._json({"transfer": "basic", "objects": wanted})

    def _commit(self, folder: Path, posted: bytes) -> Answer:
        header, *operations = [json.loads(line) for line in posted.splitlines()]
        assert header["value"]["summary"]
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                (folder / value["path"]).unlink()
                continue
            large = operation["key"] == "lfsFile"
            content = self.stored[value["oid"]] if large else base64.b64decode(value["content"])
            assert not large or len(content) == value["size"]
            (folder / value["path"]).write_bytes(content)
        self.commits.append([operation["value"]["path"] for operation in operations])
        name = folder.relative_to(self.root / "models")
        return self._json({"commitUrl": f"{self.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
