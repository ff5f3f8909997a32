"""Pushing an exported folder to a hub: permission first, before any long work; then all files in one commit."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is not in its __all__
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)

from flexlora.adapters.saved import CONFIG
from flexlora.errors import FlexError, UsageError
from flexlora.publishing.base import HUB_ID

OURS = "provenance.json"
"""A file that every export has."""
STALE = re.compile(r"^[^/]*\.(safetensors|bin|safetensors\.index\.json)$|^(merge_audit\.json|chat_template\.jinja)$")
"""Files of an earlier export that would be taken for this one's."""
LOG_IN = (
    "Make one that may write under Settings, Access Tokens, of the hub's web page; then `hf auth login`, or set "
    "HF_TOKEN."
)


def check_destination(repo_id: str, private: bool, merged: bool) -> None:
    """Refuse what could not be pushed there; changes nothing.

    Args:
        repo_id: OWNER/NAME; it need not exist.
        private: whether it must not be public.
        merged: whether a model will be pushed, not an adapter.

    Raises:
        UsageError: no hub id, no token, no permission, no connection, or the repository holds something else.
    """
    if not HUB_ID.fullmatch(repo_id):
        raise UsageError(f"--push {repo_id}: give OWNER/NAME.")
    if get_token() is None:
        raise UsageError(f"--push {repo_id}: there is no token for the hub. {LOG_IN}")
    api = HfApi()
    try:
        _check_token(repo_id, api.whoami())
        try:
            found = api.model_info(repo_id)
        except RepositoryNotFoundError:
            return  # to be created
        api.auth_check(repo_id, write=True)
    except HFValidationError as error:
        raise UsageError(f"--push {repo_id}: {_first_line(error)}.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            wrong = "the token is not valid" if status == 401 else "the token may not write there"
            raise UsageError(f"--push {repo_id}: {wrong} ({_first_line(error)}). {LOG_IN}") from error
        raise UsageError(f"--push {repo_id}: the hub refuses: {_first_line(error)}.") from error
    except (HTTPError, OSError) as error:
        raise UsageError(
            f"--push {repo_id}: {api.endpoint} cannot be reached ({_first_line(error)}). Without --push the export "
            "needs no connection; the same command with --push sends it later."
        ) from error
    _check_repository(repo_id, private, merged, found.private, {file.rfilename for file in found.siblings or ()})


def _check_token(repo_id: str, who: dict[str, Any]) -> None:
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise UsageError(f"--push {repo_id}: the token may only read. {LOG_IN}")
    owner, owners = repo_id.split("/")[0], [who["name"], *(one["name"] for one in who.get("orgs", ()))]
    # A fine-grained token need not see the organisations that it may write to.
    if role == "write" and owner not in owners:
        raise UsageError(
            f"--push {repo_id}: the token belongs to {who['name']!r}, and may write to {', '.join(owners)}, not "
            f"to {owner}."
        )


def _check_repository(
    repo_id: str, private: bool, merged: bool, is_private: bool | None, files: Collection[str]
) -> None:
    if private and is_private is False:
        raise UsageError(
            f"--push {repo_id}: exists and is public, and --private makes only new repositories private. Change its "
            "visibility on the hub, or push to another name."
        )
    holds = "an adapter" if CONFIG in files else "a model" if "config.json" in files else None
    if holds not in (None, "a model" if merged else "an adapter"):
        raise UsageError(
            f"--push {repo_id}: holds {holds}, and {'a merged model' if merged else 'an adapter'} beside it would be "
            "loaded wrongly. Push to another name."
        )
    if holds is not None and OURS not in files:
        raise UsageError(
            f"--push {repo_id}: holds {holds} that no export has made (it has no {OURS}), which would be overwritten. "
            "Push to another name, or delete it on the hub first."
        )


def push(folder: Path, repo_id: str, private: bool, message: str) -> str:
    """Send a folder to a hub in one commit, making the repository where there is none; returns its address.

    What the hub holds already is not sent again; where that is everything, there is no commit.

    Raises:
        FlexError: it failed; the folder is as it was.
    """
    api = HfApi()
    try:
        url = api.create_repo(repo_id, private=private or None, exist_ok=True)
        # Not `upload_folder`, which splits a large folder into several commits.
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        operations: list[Any] = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        there = {one.rfilename for one in api.model_info(repo_id).siblings or ()}
        # An earlier export may have had its weights in other files, which would be loaded before these.
        stale = sorted(name for name in there if STALE.search(name) and not (folder / name).exists())
        operations += [CommitOperationDelete(name) for name in stale]
        api.create_commit(repo_id, operations, commit_message=message)
    except Exception as error:  # the client raises many unrelated types
        raise FlexError(
            f"the push to {repo_id} failed: {_first_line(error.__cause__ or error)}. The export is complete in "
            f"{folder}; the same command again pushes it, and so does `hf upload {repo_id} {folder}"
            f"{' --private' if private else ''}`."
        ) from error
    return str(url)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
