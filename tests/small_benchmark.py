"""A few records of MBPP, HumanEval and its Java translation, in the layout of the real files."""

from __future__ import annotations

import json
from pathlib import Path


def write_benchmark(folder: Path) -> Path:
    """Write them to a new folder, and return it."""
    (folder / "multipl-e").mkdir(parents=True)
    mbpp = [
        {
            "task_id": i,
            "text": f"Write a function to add {i}.",
            "code": f"def add_{i}(x):\r\n    return x + {i}",
            "test_list": [f"assert add_{i}(1) == {i + 1}", f"assert add_{i}(0) == {i}"],
            "test_setup_code": "",
        }
        for i in (*range(1, 8), *range(11, 17), *range(511, 515), *range(601, 625))
    ]
    humaneval = [
        {
            "task_id": f"HumanEval/{i}",
            "prompt": f'def double_{i}(x):\n    """Double x."""\n',
            "entry_point": f"double_{i}",
            "canonical_solution": "    return 2 * x\n",
            "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        }
        for i in range(4)
    ]
    java = [
        {
            "name": f"HumanEval_{i}_double",
            "language": "java",
            "prompt": "class Problem {\n    // Double x.\n    public static long twice(long x) {\n",
            "tests": "    }\n    public static void main(String[] args) {\n    assert(twice(2l) == 4l);\n    }\n}\n",
            "stop_tokens": ["\n    }\n"],
        }
        for i in range(3)
    ]
    for name, records in (
        ("mbpp.jsonl", mbpp),
        ("humaneval.jsonl", humaneval),
        ("multipl-e/humaneval-java.jsonl", java),
    ):
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder
