import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.files import append_jsonl, read_appended, read_jsonl, replacing, write_whole

FULL_DISK = """
import sys
from pathlib import Path
from flexlora.errors import FlexError
from flexlora.files import append_jsonl, read_appended, write_whole
folder = Path(sys.argv[1])
write_whole(folder / "whole", "old")
try:
    write_whole(folder / "whole", "x" * 100_000)
except FlexError as error:
    assert "disk is full" in str(error), error
assert (folder / "whole").read_text() == "old"
assert [path.name for path in folder.iterdir()] == ["whole"]
written = 0
try:
    while True:
        append_jsonl(folder / "lines", {"n": written, "filler": "y" * 3000})
        written += 1
except FlexError as error:
    assert "disk is full" in str(error), error
assert [record["n"] for record in read_appended(folder / "lines")] == list(range(written))
print("kept", written)
"""


def test_appended_records_read_back_in_order_with_any_text(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    records = [{"n": i, "text": text} for i, text in enumerate(["plain", "line\nbreak", "é\u2028", "\ud800 lone"])]
    for record in records:
        append_jsonl(path, record)
    assert read_appended(path) == records
    assert read_appended(tmp_path / "missing.jsonl") == []


def test_a_torn_last_line_is_dropped_and_the_next_append_starts_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_jsonl(path, {"n": 0})
    with path.open("a") as file:
        file.write('{"n": 1, "te')
    torn = path.read_bytes()
    assert read_appended(path) == [{"n": 0}]
    assert path.read_bytes() == torn, "reading changed the file"
    append_jsonl(path, {"n": 2})
    assert read_appended(path) == [{"n": 0}, {"n": 2}]


@pytest.mark.parametrize("length", [1, 1 << 16, 200_000])
def test_a_torn_line_of_any_length_is_written_over(length: int, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"x" * length)
    append_jsonl(path, {"n": 1})
    path.write_bytes(path.read_bytes() + b"x" * length)
    append_jsonl(path, {"n": 2})
    assert path.read_text() == '{"n": 1}\n{"n": 2}\n'


def test_damage_inside_a_file_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 0}\n{oops\n{"n": 2}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_appended(path)
    with pytest.raises(UsageError, match="line 2"):
        list(read_jsonl(path))
    path.write_text("[1]\n")
    with pytest.raises(UsageError, match="expected a JSON object"):
        list(read_jsonl(path))


def test_write_whole_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, "one")
    (path.parent / ".file.partial").write_text("what a killed process left")
    write_whole(path, b"two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=64k none "{disk}" && exec "{sys.executable}" -c "$0" "{disk}"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(f"no private mount possible here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 0


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "one")

    def failing(error: BaseException) -> None:
        with replacing(path) as file:
            file.write(b"two")
            raise error

    for error in (UsageError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            failing(error)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_packed_data_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n\n{"a": 2}\n'))
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": 2})]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match="damaged gzip"):
        list(read_jsonl(path))
