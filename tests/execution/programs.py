"""One program a language for each way to fail, to be run in the sandbox only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failing:
    """Programs of one language."""

    broken: str
    """Does not parse."""
    exiting: str
    """Exits with code 3 and says nothing."""
    endless: str
    hoarding: str
    """Allocates until it is stopped."""


_C_SHARP = "using System; using System.Collections.Generic; class Problem {{ public static void Main() {{ {} }} }}"
_GO = 'package a_test\n\nimport (\n"os"\n"testing"\n)\n\nvar _ = os.Exit\n\nfunc TestA(t *testing.T) {{ {} }}\n'
_JAVA = "import java.util.*; class Problem {{ public static void main(String[] args) {{ {} }} }}"
_SCALA = "import scala.collection.mutable._\nobject Problem {{ def main(args: Array[String]): Unit = {{ {} }} }}"

FAILING = {
    "cpp": Failing(
        broken="int main( {}",
        exiting="int main() { return 3; }",
        endless="int main() { for (volatile int i = 0;; i++) {} }",
        hoarding="#include <list>\n#include <string>\n"
        "int main() { std::list<std::string> l; for (;;) l.emplace_back(1 << 24, 1); }",
    ),
    "cs": Failing(
        broken=_C_SHARP.format("int x = ;"),
        exiting=_C_SHARP.format("Environment.Exit(3);"),
        endless=_C_SHARP.format("while (true) {}"),
        hoarding=_C_SHARP.format("var l = new List<byte[]>(); while (true) l.Add(new byte[1 << 24]);"),
    ),
    "d": Failing(
        broken="unittest { int x = ; }",
        exiting="import core.stdc.stdlib;\nunittest { exit(3); }",
        endless="unittest { while (true) {} }",
        hoarding="unittest { ubyte[][] l; while (true) l ~= new ubyte[1 << 24]; }",
    ),
    "go": Failing(
        broken=_GO.format("x := "),
        exiting=_GO.format("os.Exit(3)"),
        endless=_GO.format("for {}"),
        hoarding=_GO.format("l := [][]byte{}; for { l = append(l, make([]byte, 1<<24)); if len(l) < 0 { return } }"),
    ),
    "java": Failing(
        broken=_JAVA.format("int x = ;"),
        exiting=_JAVA.format("System.exit(3);"),
        endless=_JAVA.format("while (true) {}"),
        hoarding=_JAVA.format("List<long[]> l = new ArrayList<>(); while (true) l.add(new long[1 << 20]);"),
    ),
    "js": Failing(
        broken="const x = ;",
        exiting="process.exit(3);",
        endless="for (;;) {}",
        hoarding="const l = []; for (;;) l.push(new Array(1 << 20).fill(1));",
    ),
    "lua": Failing(
        broken="local x = = 1",
        exiting="os.exit(3)",
        endless="while true do end",
        hoarding="local l = {} while true do l[#l + 1] = string.rep(string.rep('x', 1024), 1 << 14) .. #l end",
    ),
    "php": Failing(
        broken="<?php $x = ;",
        exiting="<?php exit(3);",
        endless="<?php while (true) {}",
        hoarding='<?php $l = []; while (true) { $l[] = str_repeat("x", 1 << 24); }',
    ),
    "pl": Failing(
        broken="my $x = ;",
        exiting="exit 3;",
        endless="while (1) {}",
        hoarding='my @l; while (1) { push @l, "x" x (1 << 24); }',
    ),
    "py": Failing(
        broken="x = ",
        exiting="raise SystemExit(3)",
        endless="while True: pass",
        hoarding="l = []\nwhile True: l.append(bytearray(1 << 24))",
    ),
    "r": Failing(
        broken="x <- <- 1",
        exiting="quit(status = 3)",
        endless="while (TRUE) {}",
        hoarding="l <- list()\nwhile (TRUE) l[[length(l) + 1]] <- numeric(2^21) + 1",
    ),
    "rb": Failing(
        broken="def f(",
        exiting="exit 3",
        endless="loop {}",
        hoarding='l = []\nloop { l << "x" * (1 << 24) }',
    ),
    "rkt": Failing(
        broken="#lang racket\n(define x",
        exiting="#lang racket\n(exit 3)",
        endless="#lang racket\n(let loop () (loop))",
        hoarding="#lang racket\n(let loop ([l '()]) (loop (cons (make-bytes (expt 2 24) 1) l)))",
    ),
    "rs": Failing(
        broken="fn main() { let x = ; }",
        exiting="fn main() { std::process::exit(3); }",
        endless="fn main() { loop {} }",
        hoarding="fn main() { let mut l = Vec::new(); loop { l.push(vec![1u8; 1 << 24]); } }",
    ),
    "scala": Failing(
        broken=_SCALA.format("val x = ;"),
        exiting=_SCALA.format("sys.exit(3)"),
        endless=_SCALA.format("while (true) {}"),
        hoarding=_SCALA.format("val l = ListBuffer[Array[Long]](); while (true) l += new Array[Long](1 << 20)"),
    ),
    "sh": Failing(
        broken="if then",
        exiting="exit 3",
        endless="while :; do :; done",
        hoarding="x=x; while :; do x=$x$x; done",
    ),
    "ts": Failing(
        broken="const x: number = 'a';",
        exiting="declare var process: any;\nprocess.exit(3);",
        endless="for (;;) {}",
        hoarding="const l: number[][] = []; for (;;) l.push(new Array(1 << 20).fill(1));",
    ),
}
