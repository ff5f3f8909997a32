"""The hub path, against a stand-in hub on loopback: the client libraries really ask it for files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from codesearchnet_records import on_the_hub, record
from flexlora import models
from flexlora.errors import UsageError
from flexlora.recipe import ModelSource
from small_apps import NO_SOLUTION, NO_TESTS, PLAIN, SUM, TWICE, row, write_apps
from small_evalplus import HALF_ON_HUB, SHARED_ON_HUB, ZERO_ON_HUB
from small_models import make_model
from standin_hub import StandInHub

LAYOUTS: dict[str, tuple[str, str, dict[str, str]]] = {
    # file of the benchmark fixture -> repository, config, split -> file in the repository
    "humaneval.jsonl": ("openai/openai_humaneval", "openai_humaneval", {"test": "openai_humaneval/test-00000.parquet"}),
    "multipl-e/humaneval-java.jsonl": (
        "nuprl/MultiPL-E",
        "humaneval-java",
        {"test": "humaneval-java/test-00000.parquet"},
    ),
    "mbpp.jsonl": (
        "google-research-datasets/mbpp",
        "full",
        {split: f"full/{split}-00000.parquet" for split in ("prompt", "test", "validation", "train")},
    ),
}
MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}


@pytest.fixture
def hub_root(benchmark: Path, tmp_path: Path) -> Path:
    """The benchmark fixture's records as parquet files of hub repositories, a data set of one's own, and a model."""
    root = tmp_path / "hub"
    for file, (repository, config, splits) in LAYOUTS.items():
        records = [json.loads(line) for line in (benchmark / file).read_text().splitlines()]
        for split, path in splits.items():
            chosen = [r for r in records if file != "mbpp.jsonl" or r["task_id"] in MBPP_SPLITS[split]]
            publish(root, repository, path, chosen)
        listed = "\n".join(f"  - split: {split}\n    path: {path}" for split, path in splits.items())
        card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{listed}\n---\n"
        (root / "datasets" / repository / "README.md").write_text(card)
    publish(root, "me/pairs", "data/train-00000.parquet", [{"q": "2 * 3 =", "a": " 6"}, {"q": "1 + 1 =", "a": " 2"}])
    make_model(root / "models" / "me" / "small", "llama")
    return root


def publish(root: Path, repository: str, path: str, records: list[dict[str, Any]]) -> None:
    file = root / "datasets" / repository / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), file)


def in_process(hub: StandInHub, home: Path, code: str) -> Any:
    """Run code in a process of its own, since the libraries read HF_ENDPOINT when they are imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_benchmarks_load_from_the_hub_at_their_pinned_revisions(
    hub_root: Path, benchmark: Path, tmp_path: Path
) -> None:
    code = f"""
import json
from pathlib import Path
from flexlora.data.tasks import load_problems
from flexlora.recipe import Task
answer = {{}}
for name in ("humaneval", "mbpp", "multipl-e/humaneval/java"):
    problems, origin = load_problems(Task(name=name), None)
    assert problems == load_problems(Task(name=name), Path({str(benchmark)!r}))[0]
    answer[name] = [len(problems), origin.revision]
print(json.dumps(answer))
"""
    with StandInHub(hub_root) as hub:
        answer = in_process(hub, tmp_path / "home", code)
    assert {name: count for name, (count, _) in answer.items()} == {
        "humaneval": 4,
        "mbpp": 6,
        "multipl-e/humaneval/java": 3,
    }
    for _, revision in answer.values():
        assert len(revision) == 40
        assert any(f"/{revision}/" in request for request in hub.requests)


def test_translations_of_mbpp_and_evalplus_load_from_the_hub_as_from_files(tmp_path: Path) -> None:
    translated = {
        "name": "mbpp_3_is_not_prime",
        "language": "java",
        "prompt": "class Problem {\n    // Whether it is no prime.\n    public static boolean isNotPrime(long n) {\n",
        "doctests": "transform",
        "original": "mbpp-typed/mbpp_3_is_not_prime.py",
        "prompt_terminology": "reworded",
        "tests": "    }\n    public static void main(String[] args) {\n    assert(isNotPrime(10l));\n    }\n}\n",
        "stop_tokens": ["\n    }\n"],
    }
    published = {
        "multipl-e/mbpp/java": ("nuprl/MultiPL-E", "mbpp-java", "multipl-e/mbpp-java.jsonl", [translated]),
        "humaneval+": ("evalplus/humanevalplus", "default", "HumanEvalPlus.jsonl", [HALF_ON_HUB, ZERO_ON_HUB]),
        "mbpp+": ("evalplus/mbppplus", "default", "MbppPlus.jsonl", [SHARED_ON_HUB]),
    }
    root, files = tmp_path / "hub", tmp_path / "files"
    for repository, config, file, records in published.values():
        publish(root, repository, f"{config}/test-00000.parquet", records)
        listed = f"  - split: test\n    path: {config}/test-00000.parquet\n"
        card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{listed}---\n"
        (root / "datasets" / repository / "README.md").write_text(card)
        (files / file).parent.mkdir(parents=True, exist_ok=True)
        (files / file).write_text("".join(json.dumps(record) + "\n" for record in records))
    code = f"""
import json
from pathlib import Path
from flexlora.data.tasks import load_problems
from flexlora.recipe import Task
answer = {{}}
for name in {list(published)}:
    problems, origin = load_problems(Task(name=name), None)
    assert problems == load_problems(Task(name=name), Path({str(files)!r}))[0]
    answer[name] = [[problem.task_id for problem in problems], problems[0].original, origin.revision]
print(json.dumps(answer))
"""
    with StandInHub(root) as hub:
        answer = in_process(hub, tmp_path / "home", code)
    assert {name: (ids, original) for name, (ids, original, _) in answer.items()} == {
        "multipl-e/mbpp/java": (["mbpp_3_is_not_prime"], "MBPP/3"),
        "humaneval+": (["HumanEval/0", "HumanEval/32"], None),
        "mbpp+": (["MBPP/2"], None),
    }
    for _, _, revision in answer.values():
        assert len(revision) == 40
        assert any(f"/{revision}/" in request for request in hub.requests)


def test_apps_loads_from_the_branch_that_the_hub_converts_it_to(hub_root: Path, tmp_path: Path) -> None:
    splits = {"train": [SUM, TWICE, NO_SOLUTION], "test": [SUM, TWICE, PLAIN, NO_TESTS]}
    for split, records in splits.items():
        rows = [row(number, record) for number, record in enumerate(records)]
        for part in (0, 1):  # in several files, as it is there
            publish(hub_root, "codeparrot/apps", f"all/{split}/000{part}.parquet", rows[2 * part : 2 * part + 2])
    data_dir = write_apps(tmp_path / "data", **splits)
    code = f"""
import json
from pathlib import Path
from flexlora.data.mixture import load_examples
from flexlora.data.tasks import load_problems
from flexlora.recipe import DataSource, Task
folder = Path({str(data_dir)!r})
problems, origin = load_problems(Task(name="apps"), None)
same = load_problems(Task(name="apps"), folder)[0]
assert problems == same
assert [list(p.cases) for p in problems] == [list(p.cases) for p in same]
source = DataSource(dataset="apps")
examples, origins = load_examples([source], None, 0)
assert examples == load_examples([source], folder, 0)[0]
print(json.dumps([len(problems), len(examples), [*origin.notes, *origins[0].notes], origin.revision, origin.records]))
"""
    with StandInHub(hub_root) as hub:
        problems, examples, notes, revision, records = in_process(hub, tmp_path / "home", code)
        asked = [request for request in hub.requests if "codeparrot/apps/resolve" in request]
    assert (problems, examples, records) == (3, 2, 4)
    assert [note.split(" apps")[0] for note in notes] == ["1 of 4", "1 of 3"]
    assert revision == "refs/convert/parquet"
    assert any("all/test/0001.parquet" in request for request in asked)


def test_codesearchnet_loads_from_the_hub_as_from_files(hub_root: Path, tmp_path: Path) -> None:
    records = {
        split: [on_the_hub(record(f"func f{i}() {{}}", f"F of {split}.", i, split)) for i in range(3)]
        for split in ("train", "valid", "test")
    }
    card = "---\nconfigs:\n- config_name: go\n  data_files:\n"
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        publish(hub_root, "code-search-net/code_search_net", f"go/{split}-00000-of-00001.parquet", records[name])
        card += f"  - split: {split}\n    path: go/{split}-*\n"
        file = tmp_path / "data" / "codesearchnet" / "go" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(one) + "\n" for one in records[name]))
    (hub_root / "datasets" / "code-search-net/code_search_net" / "README.md").write_text(f"{card}---\n")
    code = f"""
import json
from pathlib import Path
from flexlora.data.mixture import load_examples
from flexlora.data.texts import load_texts
from flexlora.recipe import DataSource, Texts
files = Path({str(tmp_path / "data")!r})
source, texts = DataSource(dataset="codesearchnet/go", limit=2), Texts(dataset="codesearchnet/go")
assert load_examples([source], None, 0)[0] == load_examples([source], files, 0)[0]
assert load_texts(texts, None)[0] == load_texts(texts, files)[0]
examples, (origin,) = load_examples([source], None, 0)
print(json.dumps([[e.prompt for e in examples], [t.prompt for t in load_texts(texts, None)[0]], origin.as_dict()]))
"""
    with StandInHub(hub_root) as hub:
        pairs, texts, origin = in_process(hub, tmp_path / "home", code)
    assert pairs == ["// F of train.\n"] * 2
    assert texts == ["// F of test.\n"] * 3
    assert (origin["records"], len(origin["revision"])) == (2, 40)
    assert any(f"/{origin['revision']}/" in request for request in hub.requests)


def test_ones_own_hub_dataset_trains_by_its_column_names(hub_root: Path, tmp_path: Path) -> None:
    code = """
import json
from flexlora.data.mixture import load_examples
from flexlora.errors import UsageError
from flexlora.recipe import DataSource
source = dict(dataset="me/pairs", prompt_column="q", completion_column="a")
examples, _ = load_examples([DataSource(**source)], None, 0)
errors = []
for wrong in ({**source, "prompt_column": "x"}, {**source, "split": "test"}, {**source, "dataset": "me/nothing"}):
    try:
        load_examples([DataSource(**wrong)], None, 0)
    except UsageError as error:
        errors.append(str(error))
print(json.dumps([[e.prompt + e.completion for e in examples], errors]))
"""
    with StandInHub(hub_root) as hub:
        pairs, errors = in_process(hub, tmp_path / "home", code)
    assert pairs == ["2 * 3 = 6", "1 + 1 = 2"]
    assert "no column 'x'; found q, a" in errors[0]
    assert "split test" in errors[1]
    assert "me/nothing" in errors[2]


def test_a_model_is_found_checked_and_loaded_by_its_hub_name(hub_root: Path, tmp_path: Path) -> None:
    (hub_root / "models" / "me" / "empty").mkdir()
    (hub_root / "models" / "me" / "empty" / "config.json").write_text('{"model_type": "llama"}')
    code = """
import json
from flexlora import models
from flexlora.errors import UsageError
from flexlora.recipe import ModelSource
source = ModelSource(name="me/small")
models.skeleton(source)
size = models.check_weights(source)
model = models.load_model(source)
errors = []
for name in ("me/nothing", "me/empty"):
    try:
        models.check_weights(ModelSource(name=name))
    except UsageError as error:
        errors.append(str(error))
print(json.dumps([size, model.config.hidden_size, models.load_tokenizer(source).eos_token,
                  models.identity(source)["revision"], errors]))
"""
    with StandInHub(hub_root) as hub:
        size, hidden, eos, revision, errors = in_process(hub, tmp_path / "home", code)
    assert size == (hub_root / "models" / "me" / "small" / "model.safetensors").stat().st_size
    assert (hidden, eos) == (32, "</s>")
    assert len(revision) == 40
    assert "cannot be found" in errors[0]
    assert "no weights" in errors[1]


def test_a_hub_that_cannot_be_reached_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="model 'me/small': cannot be found"):
        models.check_weights(ModelSource(name="me/small"))
