"""The small language: what it computes, that renderers write the same, and that they write it as MultiPL-E does."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from flexlora.tiny.language import RENDERERS
from flexlora.tiny.language.interpret import Unfit, compiled
from flexlora.tiny.language.ir import (
    Append,
    Binary,
    Compare,
    Empty,
    Expr,
    ForEach,
    ForRange,
    Function,
    If,
    Let,
    Logic,
    Neg,
    Not,
    Num,
    Parameter,
    Return,
    Update,
    Var,
    While,
)

N, V = Var("n"), Var("v")
NUMBER = (Parameter("n", "int"),)
KEPT = Function(
    (Parameter("values", "list"),),
    "list",
    (
        Let("result", "list", Empty("list")),
        ForEach("v", "int", Var("values"), (If(Compare(">", V, Num(3)), (Append("result", Binary("*", V, V)),)),)),
        Return(Var("result")),
    ),
)
PYTHON = '''def kept(values):
    """Keep."""
    result = []
    for v in values:
        if v > 3:
            result.append(v * v)
    return result
'''
JAVA = """import java.util.*;
class Problem {
    // Keep.
    public static ArrayList<Long> kept(ArrayList<Long> values) {
        ArrayList<Long> result = new ArrayList<Long>();
        for (long v : values) {
            if (v > 3) {
                result.add(v * v);
            }
        }
        return result;
    }
"""
JAVASCRIPT = """//Keep.
function kept(values){
    let result = [];
    for (let v of values) {
        if (v > 3) {
            result.push(v * v);
        }
    }
    return result;
}
"""
CPP = """#include<assert.h>
#include<bits/stdc++.h>
// Keep.
std::vector<long> kept(std::vector<long> values) {
    std::vector<long> result = {};
    for (long v : values) {
        if (v > 3) {
            result.push_back(v * v);
        }
    }
    return result;
}
"""


@pytest.mark.parametrize(("language", "written"), [("py", PYTHON), ("java", JAVA), ("js", JAVASCRIPT), ("cpp", CPP)])
def test_a_function_in_four_languages(language: str, written: str) -> None:
    renderer = RENDERERS[language]
    assert renderer.prompt(KEPT, "kept", "Keep.") + renderer.completion(KEPT) == written


def test_the_interpreter_computes_it() -> None:
    assert compiled(KEPT)(((1, 4, 3, -5, 6),)) == (16, 36)
    assert compiled(KEPT)(((),)) == ()


def test_what_has_no_value_is_unfit() -> None:
    def run(*block: Any) -> None:
        compiled(Function(NUMBER, "int", block))((7,))

    with pytest.raises(Unfit, match="beyond"):
        run(Return(Binary("*", Num(2**52), N)))
    with pytest.raises(Unfit, match="steps"):
        run(While(Compare(">", N, Num(0)), (Update("n", "+=", Num(0)),)))
    with pytest.raises(Unfit, match="steps"):
        run(ForRange("i", Num(1), Num(10**9), (Update("n", "+=", Num(0)),)))
    with pytest.raises(Unfit):
        run(Return(Binary("%", N, Num(0))))
    with pytest.raises(Unfit, match="no value"):
        run(Let("x", "int", N))


def test_ranges_end_where_they_should() -> None:
    for inclusive in (True, False):
        for step in (1, 3, -1, -2):
            first, last = (0, 6) if step > 0 else (6, 0)
            loop = ForRange("v", Num(first), Num(last), (Append("out", V),), inclusive=inclusive, step=step)
            function = Function(NUMBER, "list", (Let("out", "list", Empty("list")), loop, Return(Var("out"))))
            beyond = (1 if step > 0 else -1) * inclusive
            assert compiled(function)((0,)) == tuple(range(first, last + beyond, step))
            scope: dict[str, Any] = {}
            exec("def f(n):\n" + RENDERERS["py"].completion(function), scope)
            assert tuple(scope["f"](0)) == tuple(range(first, last + beyond, step))


def number(generator: random.Random, depth: int) -> Expr:
    if depth == 0:
        return generator.choice((N, Num(generator.randint(-3, 9))))
    if generator.random() < 0.2:
        return Neg(number(generator, depth - 1))
    operator = generator.choice(("+", "-", "*", "//", "%"))
    return Binary(operator, number(generator, depth - 1), number(generator, depth - 1))


def truth(generator: random.Random, depth: int) -> Expr:
    if depth == 0:
        return Compare(generator.choice(("<", "==", ">=")), number(generator, 1), number(generator, 1))
    if generator.random() < 0.3:
        return Not(truth(generator, depth - 1))
    return Logic(generator.choice(("and", "or")), truth(generator, depth - 1), truth(generator, depth - 1))


def test_parentheses_stand_where_they_must() -> None:
    generator = random.Random(0)
    compared = 0
    for make in (number, truth):
        for _ in range(400):
            expr = make(generator, 3)
            try:
                value = compiled(Function(NUMBER, "int", (Return(expr),)))((5,))
            except Unfit:
                continue
            assert eval(RENDERERS["py"].expression(expr), {"n": 5}) == value
            # Truncating division differs; with the operators of the C family alone the structure is the same.
            text = RENDERERS["java"].expression(expr).replace("&&", " and ").replace("||", " or ").replace("/", "//")
            text = re.sub(r"!(?!=)", " not ", text)
            assert eval(text.strip(), {"n": 5}) == value
            compared += 1
    assert compared > 500


FORMS = {
    "java": (
        r"    public static (long|boolean|String|ArrayList<Long>) \w+"
        r"\(((long|String|ArrayList<Long>) \w+(, )?)+\) \{\n",
        r"    \}\n    public static void main\(String\[\] args\) \{\n"
        r"(    assert\(\w+\(.*\)( == \(.*\)|\.equals\(.*\))\);\n)+    \}\n\n\}\n",
    ),
    "js": (
        r"function \w+\((\w+(, )?)+\)\{\n",
        r"const assert = require\('node:assert'\);\n\n\nfunction test\(\) \{\n  let candidate = \w+;\n"
        r"(  assert\.deepEqual\(candidate\(.*\),.*\);\n)+\}\n\ntest\(\);",
    ),
    "cpp": (
        r"(long|bool|std::string|std::vector<long>) \w+\(((long|std::string|std::vector<long>) \w+(, )?)+\) \{\n",
        r"\}\nint main\(\) \{\n    auto candidate = \w+;\n"
        r"(    assert\(candidate\(.*\) == \(.*\)\);\n)+\}\n",
    ),
}


@pytest.mark.parametrize("language", FORMS)
def test_prompts_stops_and_tests_are_those_of_multipl_e(language: str, data_dir: Path) -> None:
    renderer, (signature, tests) = RENDERERS[language], FORMS[language]
    lines = (data_dir / "multipl-e" / f"humaneval-{language}.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    alike = [record for record in records if re.fullmatch(signature, record["prompt"].splitlines(True)[-1])]
    assert len(alike) > 40
    assert sum(re.fullmatch(tests, record["tests"]) is not None for record in alike) > 0.9 * len(alike)
    for record in records:
        assert tuple(record["stop_tokens"]) == renderer.stop_tokens
    cases = [(((1, 5, -4),), (25,)), (((),), ())]
    assert re.fullmatch(signature, renderer.prompt(KEPT, "kept", "Keep.").splitlines(True)[-1])
    assert re.fullmatch(tests, renderer.tests(KEPT, "kept", cases))
    # Comments and what stands before the class or function begin as there.
    starts = [line.split("Keep.")[0] for line in renderer.prompt(KEPT, "kept", "Keep.").splitlines()[:-1]]
    assert all(any(line.startswith(start) for line in records[0]["prompt"].splitlines()) for start in starts)
