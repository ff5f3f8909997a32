"""`flexlora export --push` against a stand-in hub on loopback: what it holds afterwards, and every refusal before."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

import flexlora
from flexlora.errors import FlexError, UsageError
from flexlora.publishing.hub import check_destination, push
from publishing.writable_hub import WritableHub


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "README.md").write_text("---\npipeline_tag: text-generation\n---\nA card.\n")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "provenance.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_byte_arrives_in_one_commit_and_a_second_push_changes_nothing(
    hub: WritableHub, exported: Path, tmp_path: Path
) -> None:
    check_destination("me/new", private=True, merged=False)
    assert not (tmp_path / "hub").exists()
    url = push(exported, "me/new", private=True, message="first")
    there = tmp_path / "hub" / "models" / "me" / "new"
    assert contents(there) == contents(exported)
    assert (url, hub.visibility) == (f"{hub.url}/me/new", {"me/new": "private"})
    assert hub.commits == [sorted(contents(exported))]
    check_destination("me/new", private=True, merged=False)
    assert push(exported, "me/new", private=True, message="again") == url
    assert len(hub.commits) == 1
    (exported / "README.md").write_text("---\npipeline_tag: text-generation\n---\nA better card.\n")
    push(exported, "me/new", private=True, message="changed")
    assert hub.commits[1:] == [["README.md"]]
    assert contents(there) == contents(exported)


def test_weights_of_an_earlier_export_do_not_stay_beside_the_new_ones(
    hub: WritableHub, exported: Path, tmp_path: Path
) -> None:
    there = tmp_path / "hub" / "models" / "me" / "model"
    there.mkdir(parents=True)
    for name in ("model.safetensors", "merge_audit.json", "notes.md", "adapter_config.json", "provenance.json"):
        (there / name).write_text("old")
    push(exported, "me/model", private=False, message="other weights")
    assert contents(there) == contents(exported) | {"notes.md": b"old"}


@pytest.mark.parametrize("stage", ["/repos/create", "/lfs/", "/commit/"])
def test_a_push_that_fails_leaves_the_folder_and_says_how_to_go_on(
    stage: str, hub: WritableHub, exported: Path, tmp_path: Path
) -> None:
    before, hub.failing = contents(exported), stage
    with pytest.raises(FlexError, match=r"the same command again pushes it, and so does `hf upload me/new .*out`"):
        push(exported, "me/new", private=False, message="first")
    with pytest.raises(FlexError, match=r"`hf upload me/new .*out --private`"):
        push(exported, "me/new", private=True, message="first")
    assert contents(exported) == before
    hub.failing = None
    push(exported, "me/new", private=False, message="again")
    assert contents(tmp_path / "hub" / "models" / "me" / "new") == before


def test_without_a_token_the_remedies_are_named(hub: WritableHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match=r"no token .*`hf auth login`, or set HF_TOKEN"):
        check_destination("me/new", private=False, merged=False)
    assert hub.requests == []


def test_what_would_be_refused_is_refused_before_anything_is_made(hub: WritableHub, tmp_path: Path) -> None:
    def refusal(repo_id: str, private: bool = False, merged: bool = False) -> str:
        with pytest.raises(UsageError) as refused:
            check_destination(repo_id, private=private, merged=merged)
        return str(refused.value)

    assert "give OWNER/NAME" in refusal("new")
    assert "may write to me, not to you" in refusal("you/new")
    for name, file in (("adapter", "adapter_config.json"), ("model", "config.json")):
        (tmp_path / "hub" / "models" / "me" / name).mkdir(parents=True)
        (tmp_path / "hub" / "models" / "me" / name / file).touch()
    assert "holds an adapter, and a merged model beside it" in refusal("me/adapter", merged=True)
    assert "holds a model, and an adapter beside it" in refusal("me/model")
    assert "is public" in refusal("me/model", merged=True, private=True)
    assert "holds a model that no export has made" in refusal("me/model", merged=True)
    hub.role = "read"
    assert "may only read" in refusal("me/new")
    hub.role = "fineGrained"
    (tmp_path / "hub" / "models" / "you" / "theirs").mkdir(parents=True)
    assert "the token may not write there" in refusal("you/theirs")
    hub.failing = "whoami"
    assert "the hub refuses" in refusal("me/new")
    assert not any("create" in request or "commit" in request for request in hub.requests)


def test_a_hub_that_cannot_be_reached_is_no_traceback(hub: WritableHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"cannot be reached .*same command with --push sends it later"):
        check_destination("me/new", private=False, merged=False)


def test_an_export_that_is_there_is_pushed_with_its_card_written_anew(
    hub: WritableHub, run: Path, tmp_path: Path
) -> None:
    out, there = tmp_path / "out", tmp_path / "hub" / "models" / "me" / "pair"
    flexlora.export(run, out, arm="plain", merged=True)
    weights = (out / "model.safetensors").stat()
    for _ in range(2):
        done = flexlora.export(run, out, arm="plain", merged=True, push_to="me/pair")
        assert done.url == f"{hub.url}/me/pair"
        assert contents(there) == contents(out)
        assert 'from_pretrained("me/pair"' in (out / "README.md").read_text()
        assert (out / "model.safetensors").stat() == weights
    assert len(hub.commits) == 1
    for other in ({"arm": "fourier", "merged": True}, {"arm": "plain", "merged": True, "dtype": "float16"}):
        with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
            flexlora.export(run, out, push_to="me/pair", **other)


def test_a_base_that_is_named_later_is_named_in_card_and_configuration(
    hub: WritableHub, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flexlora.export(run, out, arm="plain")
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    flexlora.export(run, out, arm="plain", base="some/base", push_to="me/adapter")
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/base"
    assert "base_model: some/base" in (out / "README.md").read_text()
    assert contents(tmp_path / "hub" / "models" / "me" / "adapter") == contents(out)
