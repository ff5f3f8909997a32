"""Run files: written whole and renamed, or appended line by line, so that a killed process leaves no half file.

`write_whole` replaces a file in one step. `append_jsonl` adds one record and, where the disk is full, takes its
own half-written line back. A torn last line (the process was killed while writing it) counts as not done:
`read_appended` passes over it, `append_jsonl` writes in its place. Damage anywhere else is an error, because then
finished work would be lost.

Data files (what others wrote) may be packed with gzip; their first bytes tell, not their names.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from flexlora.errors import FlexError, UsageError

Record = dict[str, Any]


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace `path` with `content` in one step: a reader sees the old file or the new one, never a part.

    Raises:
        FlexError: the disk is full or the folder cannot be written; the old file is still there.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """`write_whole` of what the block writes into the file that it is given; a block that fails changes nothing.

    Raises:
        FlexError: the disk is full or the folder cannot be written; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.partial")  # always this name: what a killed process left is reused
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _write_error(path, error) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_whole` of a value as indented JSON."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, record: Record) -> None:
    """Append one record as one line, in a single write, in place of a torn last line.

    Raises:
        FlexError: the disk is full or the file cannot be written; the lines before this one are intact.
    """
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        end = _end_of_last_line(descriptor)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(descriptor, end)
            raise _write_error(path, error) from error
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int) -> int:
    """Length of the file without a torn last line, which is cut off."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    at, newline = size, -1
    while at > 0 and newline < 0:
        start = max(0, at - (1 << 16))
        newline = os.pread(descriptor, at - start, start).rfind(b"\n")
        at = start
    end = at + newline + 1 if newline >= 0 else 0
    os.ftruncate(descriptor, end)
    return end


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield (line number from 1, record) for every line of a data file; blank lines are passed over.

    Raises:
        UsageError: the file is missing, or a line is not a JSON object; names the line.
    """
    with open_data(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parse(path, number, line)


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """A data file open for reading, unpacked where it is gzip.

    Raises:
        UsageError: the file is missing, cannot be read, or is packed and damaged.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: damaged gzip ({error}). Copy or pack it anew.") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error


def read_appended(path: Path) -> list[Record]:
    """All finished records of a file written by `append_jsonl`, which is not changed; a missing file has none.

    A last line without its newline is being written, or was when the process died; it is passed over.

    Raises:
        UsageError: the file cannot be read, or a line before the last is damaged; names the line and what to do.
    """
    return [record for _, record in iterate_appended(path)]


def iterate_appended(path: Path) -> Iterator[tuple[int, Record]]:
    """`read_appended` one record at a time, each with the offset of its line in the file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error
    offset = 0
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield offset, _parse(path, number, line)
            offset += len(line)


def follow_appended(path: Path) -> Iterator[Record | None]:
    """The records of a file that `append_jsonl` is writing, as they come; None, each time, where none has come yet.

    It never ends.

    Raises:
        UsageError: as `read_appended`.
    """
    at = number = 0
    while True:
        for line in _whole_lines(path, at):
            number, at = number + 1, at + len(line)
            yield _parse(path, number, line)
        yield None


def _whole_lines(path: Path, at: int) -> list[bytes]:
    """The finished lines of a file from an offset on; none where there is no file."""
    try:
        # In one read: what is torn at the end may be cut off and written over meanwhile.
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            read = file.read(max(0, os.fstat(file.fileno()).st_size - at))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error
    return read[: read.rfind(b"\n") + 1].splitlines(keepends=True)


def _parse(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UsageError(
            f"{path}, line {number}: not valid JSON ({error}). Mend or delete that line; for a file that FLeX "
            "wrote, deleting it means that this record is made again."
        ) from error
    if not isinstance(record, dict):
        raise UsageError(f"{path}, line {number}: expected a JSON object, found {type(record).__name__}.")
    return record


def _write_error(path: Path, error: OSError) -> FlexError:
    if error.errno == errno.ENOSPC:
        return FlexError(
            f"{path}: the disk is full. What was finished is kept; free some space and run the same command again."
        )
    return FlexError(f"{path}: cannot be written ({error.strerror}).")
