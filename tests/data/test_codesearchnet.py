"""CodeSearchNet from small records in both of its layouts, as files and packed."""

import ast
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from codesearchnet_records import on_the_hub, record
from flexlora.data import codesearchnet
from flexlora.data.mixture import load_examples
from flexlora.errors import UsageError
from flexlora.recipe import DataSource

PYTHON = 'def twice(x):\n    r"""\n    Double x.\n\n    It says "two" times.\n    """\n    return 2 * x'
JAVA = "public int twice(int x) {\n        return 2 * x;\n    }"


def write(file: Path, records: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(one) + "\n" for one in records).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def test_both_layouts_packed_or_not_give_the_same_pairs(tmp_path: Path) -> None:
    records = [record(JAVA, "Doubles x.", i) for i in range(3)]
    write(tmp_path / "a/codesearchnet/java/final/jsonl/test/java_test_0.jsonl.gz", records)
    write(tmp_path / "b/codesearchnet/java/anything.jsonl", [on_the_hub(one) for one in records])
    first, origin = codesearchnet.examples(tmp_path / "a", "codesearchnet/java", "test")
    second, _ = codesearchnet.examples(tmp_path / "b", "codesearchnet/java", "test")
    assert first == second
    assert first[0].prompt == "/**\n * Doubles x.\n */\n"
    assert first[0].completion == JAVA + "\n"
    assert len({one.key for one in first}) == 3
    assert (origin.source, origin.records) == ("codesearchnet/java", 3)
    assert origin.sha256


def test_a_python_function_loses_its_docstring_and_nothing_else() -> None:
    documentation = 'Double x.\n\n    It says "two" times.'
    alone = codesearchnet.function_alone("py", PYTHON, documentation)
    assert alone == "def twice(x):\n    return 2 * x\n"
    for opening, closing in (
        ('"""', '"""'),
        ("'''", "'''"),
        ("'", "'"),
        ('u"', '"'),
        ('"""', ' """'),
        ('"""\n   ', '"\n"""'),
    ):
        code = f"def f(a, b='Text.'):\n    {opening}Doc: it.{closing}\n    return 'Doc: it.'\n"
        assert codesearchnet.function_alone("py", code, "Doc: it.") == "def f(a, b='Text.'):\n    return 'Doc: it.'\n"
    one_line = codesearchnet.function_alone("py", "def f(): 'Doc: it.'; return 1", "Doc: it.")
    assert "Doc" not in one_line
    words_elsewhere = "def f(a='Doc: it.'):\n    '''Doc: it.'''\n    return a"
    assert codesearchnet.function_alone("py", words_elsewhere, "Doc: it.") == "def f(a='Doc: it.'):\n    return a\n"
    # Where the words stand in no literal, nothing is cut.
    commented = "def f():\n    # Doc: it.\n    return 1\n"
    assert codesearchnet.function_alone("py", commented, "Doc: it.") == commented
    assert codesearchnet.function_alone("java", JAVA, "return") == JAVA + "\n"


def test_documentation_is_a_comment_of_the_language() -> None:
    text = 'Adds.\n\n    :param a: """one""" */\n    :return: it\n'
    ast.parse(codesearchnet.comment("py", text))
    assert codesearchnet.comment("py", text) == "\"\"\"\nAdds.\n\n:param a: '''one''' */\n:return: it\n\"\"\"\n"
    assert codesearchnet.comment("go", text).splitlines()[:2] == ["// Adds.", "//"]
    assert codesearchnet.comment("rb", text).splitlines()[-1] == "# :return: it"
    for language in ("java", "js", "php"):
        assert codesearchnet.comment(language, text).count("*/") == 1


def test_a_split_is_told_by_the_path_or_else_by_each_record(tmp_path: Path) -> None:
    folder = tmp_path / "codesearchnet/go"
    write(folder / "train/go_train_10.jsonl", [record("func b() {}", "B.", 1)])
    write(folder / "train/go_train_2.jsonl", [record("func a() {}", "A.", 2)])
    write(folder / "valid/part.jsonl", [record("func c() {}", "C.", 3)])
    write(folder / "rest.jsonl", [record("func d() {}", "D.", 4, "valid"), record("func e() {}", "E.", 5, "test")])
    names = {
        split: [one.completion[5] for one in codesearchnet.examples(tmp_path, "codesearchnet/go", split)[0]]
        for split in ("train", "validation", "test")
    }
    assert names == {"train": ["a", "b"], "validation": ["d", "c"], "test": ["e"]}
    first, origin = codesearchnet.examples(tmp_path, "codesearchnet/go", "train", limit=1)
    assert [one.completion[5] for one in first] == ["a"]
    assert origin.records == 1


def test_a_function_that_stands_twice_in_a_file_has_two_keys(tmp_path: Path) -> None:
    write(tmp_path / "codesearchnet/py/test.jsonl", [record(PYTHON, "Double x."), record(PYTHON, "Double x.")])
    pairs, _ = codesearchnet.examples(tmp_path, "codesearchnet/py", "test")
    assert pairs[1].key == f"{pairs[0].key} (2)"


def test_it_trains_in_a_mixture_by_weight(tmp_path: Path) -> None:
    write(tmp_path / "codesearchnet/ruby/train.jsonl", [record("def a\nend", "A.", i) for i in range(4)])
    source = DataSource(dataset="codesearchnet/rb", weight=1.5)
    examples, origins = load_examples([source, source.model_copy(update={"limit": 2})], tmp_path, seed=0)
    assert len(examples) == 6 + 3
    assert [origin.records for origin in origins] == [4, 2]
    assert {one.source for one in examples} == {"codesearchnet/rb"}
    assert examples[0].prompt == "# A.\n"


@pytest.mark.parametrize(
    ("name", "split", "files", "complaint"),
    [
        ("codesearchnet/python", "test", {}, "unknown dataset 'codesearchnet/python'; there are codesearchnet/py,"),
        ("codesearchnet/py", "dev", {}, "no split 'dev'; it has train, validation, test"),
        ("codesearchnet/py", "test", {}, "codesearchnet/python: no such folder of data files"),
        ("codesearchnet/py", "test", {"py/a.jsonl": [], "python/a.jsonl": []}, "both there"),
        ("codesearchnet/py", "test", {"py/readme.txt": []}, "holds no .jsonl"),
        ("codesearchnet/py", "test", {"py/train.jsonl": [record(PYTHON, "A.")]}, "no function of the split 'test'"),
        ("codesearchnet/py", "test", {"py/test.jsonl": [{"code": "x"}]}, "line 1: no text in 'docstring'"),
        ("codesearchnet/py", "test", {"py/test.jsonl": [record(" ", "A.")]}, "line 1: 'code' is empty"),
        ("codesearchnet/py", "test", {"py/test/train.jsonl": []}, "names two splits, train and test"),
        ("codesearchnet/py", "test", {"py/all.jsonl": [{"code": "x"}]}, "line 1: says no split"),
    ],
)
def test_wrong_names_and_files_are_refused(
    name: str, split: str, files: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    for path, records in files.items():
        write(tmp_path / "codesearchnet" / path, records)
    with pytest.raises(UsageError, match=complaint):
        codesearchnet.examples(tmp_path, name, split)


def test_it_is_not_loaded_round_its_name() -> None:
    with pytest.raises(UsageError, match="is the benchmark codesearchnet/LANG"):
        load_examples([DataSource(dataset=codesearchnet.REPOSITORY)], None, seed=0)
    with pytest.raises(UsageError, match="unknown dataset 'codesearchnet'"):
        load_examples([DataSource(dataset="codesearchnet")], None, seed=0)
