"""A few records of HumanEval+ and MBPP+ in both published formats: EvalPlus's releases, and the hub's."""

from __future__ import annotations

from typing import Any

HALF: dict[str, Any] = {
    "task_id": "HumanEval/0",
    "prompt": 'def half(numbers):\n    """Halve them."""\n',
    "entry_point": "half",
    "canonical_solution": "    return [number / 2 for number in numbers]\n",
    "contract": "\n    assert numbers # $_CONTRACT_$\n",
    "base_input": [[[1, 2]]],
    "plus_input": [[[]], [[-3, 1e300, float("inf")]], [[0.1] * 50]],
    "atol": 0,
}
SHARED: dict[str, Any] = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nFind the shared elements.\nassert set(similar_elements((3, 4), (5, 4))) == set((4,))\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n    assert type(a) is tuple\n    return tuple({*a} & {*b})\n",
    "base_input": [[[3, 4], [5, 4]]],
    "plus_input": [[[1, 2, 3], [3, 2]], [[], []]],
    "atol": 0,
    "contract": "",
    "assertion": "assert set(similar_elements((3, 4), (5, 4))) == set((4,))",
}
ASSERTION = """
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        np.testing.assert_allclose(out, exp, atol=atol)
    else:
        assert exact_match
"""
HALF_ON_HUB = {
    **{column: HALF[column] for column in ("task_id", "prompt", "entry_point", "canonical_solution")},
    "test": ASSERTION
    + "\ndef check(candidate):\n    inputs = [[[1, 2]], [[3]]]\n    results = [[0.5, 1.0], [1.5]]\n"
    + "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n",
}
ZERO_ON_HUB = {
    "task_id": "HumanEval/32",
    "prompt": "def find_zero(xs):\n",
    "entry_point": "find_zero",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "test": "import math\n\ndef _poly(xs, x):\n    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n"
    "def check(candidate):\n    inputs = [[[1, 2]]]\n    results = [-0.5]\n"
    "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
    "        assert _poly(*candidate(*inp), inp) <= 0.0001\n",
}
SHARED_ON_HUB = {
    "task_id": 2,
    "code": SHARED["canonical_solution"],
    "prompt": "Find the shared elements.",
    "source_file": "x",
    "test_imports": ["import math"],
    "test_list": ["assert set(similar_elements((3, 4), (5, 4))) == set((4,))", "assert math"],
    "test": ASSERTION
    + "\ninputs = [[(3, 4), (5, 4)]]\nresults = [(4,)]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n"
    + "    assertion(set(similar_elements(*inp)), set(exp), 0)\n",
}
