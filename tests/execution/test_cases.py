"""Programs with test cases: real pipes, every case, one verdict, nothing expected within the program's reach."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toolchains import need

from flexlora.errors import UsageError
from flexlora.evaluation.sample_files import execute_file, in_words, score_file
from flexlora.execution import Mode, Program, Status, Verdict, execute, run_program
from flexlora.execution.cases import Case, Cases
from flexlora.execution.runner import Runner
from flexlora.execution.samples import execute_programs, read_programs
from flexlora.execution.verdict import TestsPassed

SUM = "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"
HOW: dict[str, dict[str, Any]] = {mode: {"mode": mode} for mode in Mode} | {"none": {"sandbox": "none"}}


def cases(*pairs: tuple[str, str]) -> Cases:
    return Cases.of([Case(input=given, expected=expected) for given, expected in pairs])


def run(source: str, given: Cases, language: str = "py", timeout_s: float | None = None, **how: Any) -> Verdict:
    program = Program("t", 0, language, source, timeout_s, cases=given)
    (verdict,) = execute([program], workers=1, cache=False, **how)
    assert verdict.program_sha256 == program.sha256
    return verdict


def counts_of(verdict: Verdict) -> TestsPassed:
    assert verdict.tests is not None
    return verdict.tests


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_every_case_has_an_input_of_its_own_and_all_are_run(how: dict[str, Any]) -> None:
    verdict = run(SUM, cases(("1 2\n3\n", "6"), ("4", "5\n"), ("", "0"), ("x", "0"), ("7", "7\n")), **how)
    assert (verdict.status, verdict.passed, verdict.stdout) == (Status.EXCEPTION, False, "4\n")
    assert verdict.tests == TestsPassed(
        passed=3, total=5, first_failed=2, reason="wrong output: expected '5', found '4'"
    )
    verdict = run(SUM, cases(("1", "1"), ("2", "2")), **how)
    assert (verdict.status, verdict.passed, verdict.exit_code) == (Status.OK, True, 0)
    assert verdict.tests == TestsPassed(passed=2, total=2, first_failed=None, reason="")


READERS = {
    "input": "print(input(), input())",
    "lines": "import sys\nprint(*[line.strip() for line in sys.stdin])",
    "buffer": "import sys\nprint(sys.stdin.buffer.read().decode().replace('\\n', ' '))",
    "descriptor": "import os\nprint(os.read(0, 99).decode().replace('\\n', ' '))",
    "open": "print(open(0).read().replace('\\n', ' '))",
    "pipe": "import os, stat\nassert stat.S_ISFIFO(os.fstat(0).st_mode)\nprint(input(), input())",
    "child": "import subprocess\nprint(subprocess.run(['cat'], capture_output=True, text=True).stdout)",
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_standard_input_is_a_pipe_that_every_way_of_reading_reads(how: dict[str, Any]) -> None:
    programs = [Program(name, 0, "py", source, cases=cases(("é 1\nb\n", "é 1 b"))) for name, source in READERS.items()]
    failed = {v.task_id: v.stderr or v.tests for v in execute(programs, workers=1, cache=False, **how) if not v.passed}
    assert failed == {}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_large_input_comes_whole_and_need_not_be_read(how: dict[str, Any]) -> None:
    large = "1 " * 500_000
    assert counts_of(run(SUM, cases((large, "500000"), ("1", "1")), **how)).passed == 2
    assert run("print(6)", cases((large, "6")), **how).passed
    assert run("import os\nos.close(0)\nprint(6)", cases((large, "6")), **how).passed
    assert run("import time\nprint(input()[:1])\ntime.sleep(0.2)", cases((large, "1")), **how).passed


def test_inputs_do_not_stay_in_the_sandbox() -> None:
    size = 16 << 20
    runner = Runner(Mode.WARM)
    try:
        used = []
        for number in range(6):
            source = f"import sys\nassert len(sys.stdin.read()) == {size}  # {number}"
            assert runner.run(Program("t", 0, "py", source, stdin="1" * size)).exit_code == 0
            used.append(memory_of_children())
        assert used[-1] < used[1] + size
    finally:
        runner.close()


def memory_of_children() -> int:
    """Bytes of memory of all processes that come from this one, which are those of its sandboxes."""
    parents, resident = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)], resident[int(path.parent.name)] = int(fields[1]), int(fields[21])

    def is_ours(process: int) -> bool:
        return process in parents and (parents[process] == os.getpid() or is_ours(parents[process]))

    return sum(pages for process, pages in resident.items() if is_ours(process)) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_program_may_end_where_it_likes_but_with_exit_code_0(how: dict[str, Any]) -> None:
    assert run("print(6)\nexit(0)\nprint(7)", cases(("", "6")), **how).passed
    assert run("import os\nprint(6, flush=True)\nos._exit(0)", cases(("", "6")), **how).passed
    failed = run("print(6)\nexit(3)", cases(("", "6")), **how)
    assert (failed.status, failed.exit_code, counts_of(failed).reason) == (Status.EXCEPTION, 3, "exit code 3")
    # Without cases it must still be seen to finish.
    assert not run_program("py", "exit(0)\nassert False", **how).passed or how == {"sandbox": "none"}


def test_reasons_of_failures() -> None:
    def reason(source: str, **how: Any) -> tuple[Status, TestsPassed]:
        verdict = run(source, cases(("1", "1"), ("2", "2")), **how)
        return verdict.status, counts_of(verdict)

    status, tests = reason("1 / 0")
    assert (status, tests.reason) == (Status.EXCEPTION, "exit code 1: ZeroDivisionError: division by zero")
    assert (tests.passed, tests.total, tests.first_failed) == (0, 2, 1)
    status, tests = reason("def (")
    assert (status, tests.reason, tests.total) == (Status.SYNTAX_ERROR, "SyntaxError: invalid syntax", 2)
    status, tests = reason("if input() == '2':\n while True: pass\nprint(1)", timeout_s=0.5)
    assert (status, tests.passed, tests.first_failed, tests.reason) == (Status.TIMEOUT, 1, 2, "Timeout")
    status, tests = reason("x = 'x' * (1 << 33)\nprint(1)")
    assert (status, tests.reason) == (Status.OUT_OF_MEMORY, "OutOfMemory")
    status, tests = reason("while True: print('x' * 100_000)")
    assert (status, tests.reason) == (Status.OUTPUT_LIMIT, "OutputLimit")


def test_a_program_that_never_ends_is_run_again_alone_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    once = Runner.run

    def counted(self: Runner, program: Program) -> Any:
        modes.append(self._mode)
        return once(self, program)

    monkeypatch.setattr(Runner, "run", counted)
    verdict = run("while True: pass", cases(*[("", "1")] * 4), timeout_s=0.3)
    assert (verdict.status, counts_of(verdict).passed, counts_of(verdict).total) == (Status.TIMEOUT, 0, 4)
    assert modes == [Mode.WARM, Mode.COLD, Mode.WARM, Mode.WARM, Mode.WARM]


def test_a_failure_of_the_sandbox_is_no_verdict_on_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from flexlora.execution.outcome import Outcome
    from flexlora.execution.sandboxed import SandboxBroken
    from flexlora.execution.worker import Job, Worker

    once = Worker.run

    def broken(self: Worker, job: Job) -> Outcome:
        if job.stdin == b"2":
            raise SandboxBroken("no such sandbox")
        return once(self, job)

    monkeypatch.setattr(Worker, "run", broken)
    verdict = run(SUM, cases(("1", "1"), ("2", "2"), ("3", "3")))
    assert (verdict.status, verdict.tests) == (Status.INFRASTRUCTURE_ERROR, None)


SPY = """
import gc, glob, os, sys
seen = [sys.stdin.read()]
places = ["/scratch/*", "/flexlora/*", "/warm/*", "/tmp/*", "/etc/*", "/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"]
for path in [path for place in places for path in glob.glob(place)]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        seen.append(os.read(fd, 1 << 20).decode("latin-1"))
        os.close(fd)
    except OSError:
        pass
seen += map(repr, gc.get_objects())
for fd in range(3, 100):
    try:
        os.set_blocking(fd, False)
        seen.append(os.read(fd, 1 << 16).decode("latin-1"))
    except OSError:
        pass
word = "".join(["hid", "den-", "expectation"])
print("found" if any(word in text for text in seen) else "not found")
"""


@pytest.mark.parametrize("mode", Mode)
def test_what_is_expected_is_nowhere_in_the_sandbox(mode: Mode) -> None:
    verdict = run(SPY, cases(("a", "hidden-expectation"), ("b", "not found")), mode=mode)
    assert (verdict.stderr, counts_of(verdict).passed, counts_of(verdict).first_failed) == ("", 1, 1)
    assert verdict.stdout == "not found\n"
    # That it would be found: here the input says it.
    assert run(SPY, cases(("hidden-expectation", "found")), mode=mode).passed


def test_the_inputs_of_other_cases_are_out_of_reach() -> None:
    source = SPY.replace("hid", "oth").replace("den-", "er-").replace("expectation", "input")
    verdict = run(source, cases(("other-input", "found"), ("b", "not found"), ("other-input", "found")))
    assert counts_of(verdict).passed == 3


@pytest.mark.parametrize(
    ("code", "source"),
    [
        (
            "cpp",
            '#include <cstdio>\nint main() { long a, b = 0; while (scanf("%ld", &a) == 1) b += a; printf("%ld", b); }',
        ),
        (
            "java",
            "import java.util.*;\npublic class Main { public static void main(String[] a) { Scanner s = new "
            "Scanner(System.in); long t = 0; while (s.hasNextLong()) t += s.nextLong(); System.out.println(t); } }",
        ),
        ("js", "console.log(require('fs').readFileSync(0, 'utf8').split(/\\s+/).map(Number).reduce((a, b) => a + b))"),
        ("sh", "total=0\nwhile read -r a b; do total=$((total + a + ${b:-0})); done\necho $total"),
    ],
)
def test_other_languages_read_too(code: str, source: str) -> None:
    need(code)
    verdict = run(source, cases(("1 2\n3\n", "6"), ("1\n", "2")), code)
    assert (counts_of(verdict).passed, counts_of(verdict).first_failed, verdict.stderr) == (1, 2, "")


# Cases


def test_cases_are_read_when_they_run_and_are_equal_by_their_hash() -> None:
    reads = []

    def read() -> list[Case]:
        reads.append(1)
        return [Case(input="1", expected="1")]

    lazy = Cases("hash", read)
    program = Program("t", 0, "py", SUM, cases=lazy)
    assert program.sha256
    assert lazy == Cases("hash", list) != Cases("other", read)
    assert lazy != Cases("hash", read, compat=True)
    assert lazy != Cases("hash", read, calls=True)
    assert not reads
    assert run(SUM, lazy).passed
    assert len(reads) == 1


def test_cases_go_to_other_machines_whole() -> None:
    given = cases(("1", "1"), ("2", "3"))
    there = pickle.loads(pickle.dumps(Program("t", 0, "py", SUM, cases=given)))
    assert there.cases == given
    assert list(there.cases) == list(given)
    assert there.sha256 == Program("t", 0, "py", SUM, cases=given).sha256


def test_a_program_is_another_one_with_other_cases_or_input() -> None:
    programs = [
        Program("t", 0, "py", SUM),
        Program("t", 0, "py", SUM, stdin=""),
        Program("t", 0, "py", SUM, stdin="1"),
        Program("t", 0, "py", SUM, cases=cases(("1", "1"))),
        Program("t", 0, "py", SUM, cases=cases(("1", "2"))),
        Program("t", 0, "py", SUM, cases=cases(("2", "1"))),
        Program("t", 0, "py", SUM, cases=Cases.of([Case(input="1", expected="1")], compat=True)),
    ]
    assert len({program.sha256 for program in programs}) == len(programs)


def test_the_cache_knows_cases_apart(own_verdicts: Path) -> None:
    def again(given: Cases) -> tuple[bool, bool, TestsPassed]:
        (verdict,) = execute([Program("t", 0, "py", SUM, cases=given)])
        return verdict.passed, verdict.cached, counts_of(verdict)

    passed = TestsPassed(passed=1, total=1, first_failed=None, reason="")
    failed = TestsPassed(passed=0, total=1, first_failed=1, reason="wrong output: expected '2', found '1'")
    assert again(cases(("1", "1"))) == (True, False, passed)
    assert again(cases(("1", "2"))) == (False, False, failed)
    assert again(cases(("1", "1"))) == (True, True, passed)
    assert again(cases(("1", "2"))) == (False, True, failed)


def test_results_say_how_many_passed_and_are_not_mixed_with_other_cases(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    programs = [Program("t", 0, "py", SUM, cases=cases(("1", "1"), ("2", "3"))), Program("u", 0, "py", "pass")]
    execute_programs(programs, path)
    with_cases, without = sorted(map(json.loads, path.read_text().splitlines()), key=lambda r: r["task_id"])
    assert with_cases["tests"] == {
        "passed": 1,
        "total": 2,
        "first_failed": 2,
        "reason": "wrong output: expected '3', found '2'",
    }
    assert "tests" not in without
    assert execute_programs(programs, path).skipped == 2
    with pytest.raises(UsageError, match="of a different program"):
        execute_programs([Program("t", 0, "py", SUM, cases=cases(("1", "1"))), programs[1]], path)


# One's own file


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_file_of_programs_with_cases(tmp_path: Path) -> None:
    given = [{"input": "1 2", "output": "3\n"}, {"input": "4", "output": "5"}]
    path = write(
        tmp_path / "p.jsonl",
        {"task_id": "sum", "language": "py", "program": SUM, "cases": given[:1], "timeout_s": 4},
        {"task_id": "sum", "language": "py", "program": SUM, "cases": given},
    )
    program = next(read_programs(path))
    assert (program.timeout_s, program.cases) == (4, cases(("1 2", "3\n")))
    summary = execute_file(path)
    assert (summary["passed"], summary["samples"], summary["tests_passed"]) == (1, 2, 0.75)
    assert "tests passed 75.0 %, in the mean\n" in in_words(summary)
    assert score_file(Path(summary["results"]))["tests_passed"] == 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": []}, "`cases` must be a list .* at least one; it is \\[\\]"),
        ({"cases": [{"input": "1"}]}, "`cases` must be a list"),
        ({"cases": [{"input": 1, "output": "1"}]}, "`cases` must be a list"),
        ({"cases": "1"}, "`cases` must be a list"),
        ({"timeout_s": 0}, "`timeout_s` must be a number of seconds above 0"),
        ({"timeout_s": True}, "`timeout_s` must be a number"),
        ({"language": "go"}, "`cases` do not go with go"),
    ],
)
def test_wrong_cases_are_named_with_file_and_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    record = {"language": "py", "program": SUM, "cases": [{"input": "1", "output": "1"}]}
    path = write(tmp_path / "p.jsonl", record, record | change)
    with pytest.raises(UsageError, match=f"p.jsonl, line 2: {message}"):
        list(read_programs(path))


def test_stopping_ends_a_program_between_its_cases(
    marker: str, left_behind: Callable[[str], list[str]], wait_until: Callable[[Callable[[], object]], None]
) -> None:
    source = f"import subprocess\nsubprocess.run(['sh', '-c', 'sleep 0.2; true', '{marker}'])\nprint(1)"
    quick = Program("quick", 0, "py", "print(1)", cases=cases(("", "1")))
    verdicts = execute([Program("slow", 0, "py", source, cases=cases(*[("", "1")] * 500)), quick], workers=2)
    assert next(verdicts).task_id == "quick"
    wait_until(lambda: left_behind(marker))
    verdicts.close()
    assert not left_behind(marker)
