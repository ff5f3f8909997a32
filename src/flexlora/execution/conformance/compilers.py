"""Sources that are hostile to compilers, those that stay above all: the next source must be compiled right."""

from __future__ import annotations

from flexlora.execution.conformance.behaviour import EXCEPTION, NOT_COMPILED, OK, Behaviour
from flexlora.execution.verdict import Status

MAIN = "int main() {}\n"
JAVA_MAIN = "class Problem { public static void main(String[] a) { } }\n"


def _cpp(name: str, ends: frozenset[Status], program: str) -> Behaviour:
    return Behaviour(name=name, language="cpp", program=program + MAIN, ends=ends)


def _java(name: str, ends: frozenset[Status], program: str) -> Behaviour:
    return Behaviour(name=name, language="java", program=program, ends=ends)


def _ts(name: str, ends: frozenset[Status], program: str) -> Behaviour:
    return Behaviour(name=name, language="ts", program=program, ends=ends)


def _nested_lambdas(depth: int) -> str:
    """Each level doubles what javac has to try."""
    expression = "1"
    for i in range(depth):
        expression = f"f(x{i} -> {expression})"
    return expression


BEHAVIOURS = [
    _cpp("include-a-secret", NOT_COMPILED, '#include "$secret"\n#include "/etc/passwd"\n'),
    _cpp("include-a-device", NOT_COMPILED, '#include "/dev/zero"\n'),
    _cpp("include-itself", NOT_COMPILED, "#include __FILE__\n"),
    _cpp("assemble-a-secret", NOT_COMPILED, 'asm(".incbin \\"$secret\\"");\n'),
    _cpp(
        "macro-bomb",
        NOT_COMPILED,
        "#define A0 1,1\n" + "".join(f"#define A{i} A{i - 1},A{i - 1}\n" for i in range(1, 40)) + "int a[] = {A39};\n",
    ),
    _cpp(
        "template-bomb",
        NOT_COMPILED,
        "template<unsigned long N, int D> struct A { A<2 * N, D - 1> a; A<2 * N + 1, D - 1> b; };\n"
        "template<unsigned long N> struct A<N, 0> {};\nA<1, 60> a;\n",
    ),
    _cpp(
        "constant-bomb",
        NOT_COMPILED,
        "constexpr unsigned long f(unsigned long n) { return n < 2 ? n : f(n - 1) + f(n - 2); }\n"
        "constexpr unsigned long x = f(90);\n",
    ),
    _cpp("enormous-constant", NOT_COMPILED | {Status.EXCEPTION}, "char a[1ul << 33] = {1};\n"),
    _java(
        "annotation-processor",
        OK,
        "import java.util.*;\nimport javax.annotation.processing.*;\nimport javax.lang.model.element.*;\n"
        '@SupportedAnnotationTypes("*")\n'
        "class Harm extends AbstractProcessor {\n"
        '    static { System.out.println("HARM: an annotation processor ran"); }\n'
        "    public boolean process(Set<? extends TypeElement> a, RoundEnvironment e) { return true; }\n"
        "}\n@Deprecated\n" + JAVA_MAIN,
    ),
    _java(
        "enormous-constant",
        NOT_COMPILED,
        'class Harm {\n    static final String S0 = "'
        + "x" * 1000
        + '";\n'
        + "".join(f"    static final String S{i} = S{i - 1} + S{i - 1};\n" for i in range(1, 24))
        + "}\n"
        + JAVA_MAIN,
    ),
    _java("enormous-array", NOT_COMPILED, "class Harm { int[] a = {" + "1," * 100_000 + "}; }\n" + JAVA_MAIN),
    _java(
        "deep-source", NOT_COMPILED, "class Harm { int x = " + "(" * 50_000 + "1" + ")" * 50_000 + "; }\n" + JAVA_MAIN
    ),
    _java(
        "inference-bomb",
        NOT_COMPILED,
        "import java.util.function.*;\nclass Harm {\n"
        "    static <T> T f(Function<Integer, T> g) { return null; }\n"
        "    static <T> T f(BiFunction<Integer, Integer, T> g) { return null; }\n"
        "    static <T> T f(IntFunction<T> g) { return null; }\n"
        f"    Object x = {_nested_lambdas(14)};\n}}\n" + JAVA_MAIN,
    ),
    _java(
        "replace-the-library",
        NOT_COMPILED,
        'package java.lang; public class String { static { System.out.println("HARM: ran"); } }\n',
    ),
    _java(
        "hide-a-library",
        NOT_COMPILED,
        'package org.javatuples; public class Pair { int x = "a"; }\n',
    ),
    _java("hide-a-library-rightly", NOT_COMPILED | EXCEPTION, "package org.javatuples; public class Pair { }\n"),
    _java(
        "many-classes",
        OK,
        "class Harm {\n"
        + "".join(f"    static class AClassWithALongNameSoThatTheListIsLong{i} {{ }}\n" for i in range(3000))
        + "}\n"
        + JAVA_MAIN,
    ),
    _java(
        "long-names",
        NOT_COMPILED,
        f"class {'A' * 190} {{ static class {'B' * 190} {{ }} }}\n" + JAVA_MAIN,
    ),
    _java(
        "long-package",
        NOT_COMPILED | EXCEPTION,
        f"package {'.'.join(f'a{i}' for i in range(30_000))};\n" + JAVA_MAIN,
    ),
    _ts(
        "include-a-secret",
        NOT_COMPILED,
        '/// <reference path="$secret.ts" />\nimport secret from "$secret";\nconst x: number = secret;\n',
    ),
    _ts(
        "type-bomb",
        NOT_COMPILED,
        "type D = 0|1|2|3|4|5|6|7|8|9;\ntype B = `$${D}$${D}$${D}$${D}$${D}$${D}$${D}$${D}`;\nconst b: B = 'x';\n",
    ),
    _ts(
        "endless-type",
        NOT_COMPILED,
        "type F<T extends any[]> = F<[...T, ...T, 1]>;\nconst f: F<[1]> = 1;\n",
    ),
    _ts("deep-source", NOT_COMPILED | OK, "const x = " + "(" * 20_000 + "1" + ")" * 20_000 + ";\n"),
]
