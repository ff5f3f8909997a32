"""Which outputs are those that a test expects: the rules one by one."""

import json
from typing import Any

import pytest

from flexlora.execution import json_values
from flexlora.execution.cases import Case, Cases
from flexlora.execution.json_values import MOST_DIGITS
from flexlora.execution.outputs import difference, same_text, same_text_compat, same_value


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("1 2\n3\n", "1 2\n3\n", True),
        ("1 2  \n3", "1 2\n3\n\n", True),
        ("1\n2\n3", "1 2 3", True),  # token by token
        ("  yes", "yes", True),
        ("Yes", "yes", False),
        ("1 2", "2 1", False),
        ("1 1", "1", False),
        ("", "\n", True),
        ("", "0", False),
        ("0.3333333", "0.33333331", True),
        ("1e3", "1000", True),
        ("1.00001", "1", False),
        ("0.0", "0", True),
        ("1e-12", "0.0", True),
        ("1000001", "1000000", False),  # whole numbers are equal or not
        ("12345678901234567891", "12345678901234567890", False),
        ("007", "7", False),
        ("nan", "nan", True),
        ("1_0.0", "10", False),
        ("x 0.50", "x 0.5", True),
        ("x 0.50 y", "x 0.5", False),
        ("1e999", "2e999", True),  # both are more than a float can hold
        ("٣.٠", "3", False),
    ],
)
def test_texts(found: str, expected: str, same: bool) -> None:
    assert same_text(found, expected) is same


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("2 1", "1 2", True),  # the original's sets of tokens
        ("1 1 2", "1 2", True),
        ("b\na", "a\nb", True),
        ("a\na", "a", True),
        ("\n a \n\n", "a", True),
        ("0.12341", "0.12349", True),  # three digits
        ("1.000001", "1", True),
        ("1 2\n3", "1 2 3", False),
        ("1.1", "1.2", False),
        ("a", "b", False),
        ("a", "", False),
        ("", "", True),
    ],
)
def test_texts_as_the_original_compares_them(found: str, expected: str, same: bool) -> None:
    assert same_text_compat(found, expected) is same


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (9, 9, True),
        (9, [9], True),  # wrapped, as most results in APPS are
        ([9], [9], True),
        ([9], 9, False),
        (9, [9, 8], False),
        ([[1, 2]], [[1, 2]], True),
        ([1, 2], [[1, 2]], True),
        (True, [True], True),
        (1, True, True),  # as in Python
        (None, [None], True),
        (None, None, True),
        (0.1 + 0.2, 0.3, True),
        ([0.1 + 0.2, "a"], [0.3, "a"], True),
        (2.0, 2, True),
        (2.1, 2, False),
        (10**400, 1.0, False),
        ("a", 1.0, False),
        ({"1": 2}, {"1": 2.0}, True),
        ({"1": 2}, {"2": 2}, False),
        ("ab", ["ab"], True),
        ("ab", "ba", False),
        ([], [], True),
        ([], [[]], True),
        ({"no JSON value": "set"}, [1], False),
    ],
)
def test_values_of_calls(found: Any, expected: Any, same: bool) -> None:
    assert same_value(found, expected) is same


def test_the_original_takes_the_first_of_any_list_for_the_value() -> None:
    assert not same_value(9, [9, 8])
    assert same_value(9, [9, 8], compat=True)


def test_numbers_of_any_length_are_read_written_and_compared() -> None:
    long, other = "1" * (MOST_DIGITS + 1), "1" * MOST_DIGITS + "2"
    text = json.dumps([{"a": 0.5, "b": None}, "x"])[:-1] + f", -{long}]"
    assert json_values.write(json_values.read(text)) == text
    assert same_value(json_values.read(long), json_values.read(f"[{long}]"))
    assert not same_value(json_values.read(long), json_values.read(other))
    assert not same_value(json_values.read(long), long)
    with pytest.raises(ValueError, match="nested too deeply"):
        json_values.read("[" * 200_000)


def test_what_is_wrong_is_said_in_short() -> None:
    text, call = Case(input="", expected="6\n"), Case(input="", expected=[True])
    texts, calls = Cases.of([text]), Cases.of([call], calls=True)
    assert difference(texts, text, "6", compat=False) == ""
    assert difference(texts, text, "7", compat=False) == "wrong output: expected '6', found '7'"
    assert len(difference(texts, text, "7" * 10_000, compat=False)) < 300
    assert difference(calls, call, "noise\n\ntrue\n", compat=False) == ""
    assert difference(calls, call, "\nfalse\n", compat=False) == "wrong value: expected '[true]', found 'false'"
    assert difference(calls, call, "", compat=False) == "no value returned: the last line is ''"


def test_the_laxer_comparison_comes_by_the_cases_or_by_the_call() -> None:
    case = Case(input="", expected="1 2")
    for compat in (False, True):
        for asked in (False, True):
            found = difference(Cases.of([case], compat=compat), case, "2 1", compat=asked)
            assert (found == "") is (compat or asked)
