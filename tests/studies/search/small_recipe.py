"""A recipe of four steps on a small random model, and a text that no training of it has seen."""

from pathlib import Path
from typing import Any

from small_benchmark import write_benchmark


def small_recipe(model: Path, folder: Path) -> dict[str, Any]:
    """The recipe; its benchmarks are written into the folder."""
    return {
        "name": "small",
        "model": str(model),
        "data_dir": str(write_benchmark(folder / "data")),
        "data": [{"dataset": "mbpp", "limit": 8}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": ["humaneval"],
        "train": {"max_steps": 4, "max_length": 96, "logging_steps": 1, "eval_steps": 2, "save_steps": 2},
        "sampling": {"max_new_tokens": 4},
    }


def own_texts(folder: Path) -> dict[str, Any]:
    """An entry of `likelihood`, from a file in the folder."""
    (folder / "texts.jsonl").write_text('{"text": "int four() { return 4; }"}\n')
    return {"dataset": str(folder / "texts.jsonl"), "text_column": "text", "language": "cpp"}
