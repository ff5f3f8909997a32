"""The command line as a user meets it, in processes of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexlora.cli import main
from flexlora.execution.languages import ToolchainMissing, toolchain

COMMANDS = (
    "run",
    "train",
    "generate",
    "execute",
    "evaluate",
    "likelihood",
    "score",
    "report",
    "compare",
    "spectrum",
    "merge",
    "export",
    "recipes",
    "tasks",
    "doctor",
)


def flexlora(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexlora", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`flexlora` in this process, which has imported everything: for what needs no process of its own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["flexlora", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(command, int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def recipe_file(benchmark: Path, small_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(
        f"model: {small_model}\ndata_dir: {benchmark}\ndata: [{{dataset: mbpp}}]\ntasks: [humaneval]\n"
        "train: {max_steps: 2, logging_steps: 1, save_steps: 2, max_length: 96}\nsampling: {max_new_tokens: 8}\n"
    )
    return path


def test_help_lists_every_command_and_each_has_its_own(inside: Callable[..., Any]) -> None:
    listed = flexlora("--help").stdout
    assert all(command in listed for command in COMMANDS)
    for command in COMMANDS:
        shown = inside(command, "--help")
        assert shown.returncode == 0
        assert "Usage" in shown.stdout


@pytest.mark.parametrize(
    "module", ["flexlora.cli", "flexlora.execution", "flexlora.evaluation.sample_files", "flexlora"]
)
def test_light_commands_import_no_torch(module: str) -> None:
    code = f"import sys, {module}, flexlora.execution.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_recipes_lists_the_packaged_ones() -> None:
    described = json.loads(flexlora("recipes", "--json").stdout)
    assert "paper/round5-fourier-mlp" in described
    assert all(described.values())
    assert "mbpp-java" in flexlora("recipes").stdout


def test_tasks_replace_the_recipes_and_may_be_patterns(
    inside: Callable[..., Any], recipe_file: Path, tmp_path: Path
) -> None:
    dry = ("run", recipe_file, "--dry-run", "--json", "--output", tmp_path / "run")
    shown = inside(*dry, "--tasks", "mbpp,multipl-e/humaneval/[!c-i]av*", "--tasks", "humaneval", "--tasks", "!mb*")
    assert json.loads(shown.stdout)["tasks"] == {"multipl-e/humaneval/java": 3, "humaneval": 4}
    nothing = inside(*dry, "--tasks", "multiple/*")
    assert (nothing.returncode, "'multiple/*' matches no task" in nothing.stderr) == (2, True)


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (None, 0), (False, 1)])
def test_the_doctor_fails_for_what_is_wrong_and_not_for_what_is_missing(
    ok: bool | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"name": "go", "ok": ok, "version": None, "good": None, "bad": None, "limits": "", "install": "words"}
    monkeypatch.setattr("flexlora.execution.doctor.check", lambda: [row])
    monkeypatch.setattr(sys, "argv", ["flexlora", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert "words" in capsys.readouterr().out


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["it wrote to /usr"], 1)])
def test_the_doctor_proves_the_sandbox(
    problems: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"name": "sandbox", "ok": True, "version": "1", "good": None, "bad": None, "limits": "", "install": None}
    proof = {"behaviour": "daemon", "language": "py", "mode": "warm", "ok": not problems, "problems": problems}
    monkeypatch.setattr("flexlora.execution.doctor.check", lambda: [row])
    monkeypatch.setattr("flexlora.execution.doctor.proofs_of_sandbox", lambda: (1, iter([proof | {"not_run": None}])))
    monkeypatch.setattr(sys, "argv", ["flexlora", "doctor", "--sandbox", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    (shown,) = json.loads(capsys.readouterr().out)["sandbox"]
    assert shown["problems"] == problems


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "nothing"], "no such file"),
        (["run", "mbpp-java", "--set", "train.epoch=1"], "did you mean 'epochs'"),
        (["run", "mbpp-java", "--set", "penalty.lam=-1"], "penalty.lam"),
        (["run"], "RECIPE"),
        (["nonsense"], "No such command"),
        (["score", "."], "neither a run"),
        (["execute", "missing.jsonl"], "missing.jsonl"),
        (["execute", "x.jsonl", "--sandbox", "docker"], "'docker' is not one of"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    arguments: list[str], part: str, tmp_path: Path, inside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = inside(*arguments)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    recipe_file: Path, tmp_path: Path, inside: Callable[..., Any]
) -> None:
    done = inside("run", recipe_file, "--dry-run", "--json", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arms"][0]["optimizer_steps"] == 2
    assert "[supervised] def add_601(x):" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_study_is_refused_where_a_run_is_meant(inside: Callable[..., Any], tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for name in ("study.yaml", ".lock"):
        (study / name).touch()
    for command in (("report", study), ("compare", tmp_path, study)):
        done = inside(*command)
        assert done.returncode == 2
        assert f"{study}: a study; `flexlora study report {study}`" in " ".join(done.stderr.split())


def test_stages_one_by_one_make_a_run_that_reports_and_compares(
    recipe_file: Path, tmp_path: Path, inside: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    trained = flexlora("train", recipe_file, "--output", run, "--json")
    assert trained.returncode == 0, trained.stderr
    adapter = Path(json.loads(trained.stdout)["adapters"]["main"])
    assert [one["arm"] for one in json.loads(trained.stdout)["trainings"]] == ["main"]
    assert (adapter / "adapter_config.json").is_file()
    for stage in ("generate", "execute", "score"):
        done = inside(stage, run)
        assert done.returncode == 0, done.stderr
    assert "humaneval" in done.stdout
    reported = inside("report", run, "--export", tmp_path / "paper")
    assert "report.html" in reported.stdout
    assert {path.suffix for path in (tmp_path / "paper").rglob("*.*")} == {".svg", ".tex", ".csv"}
    compared = inside("compare", run, run, "--json")
    assert [c["difference"] for c in json.loads(compared.stdout)["comparisons"]] == [0, 0]
    assert json.loads(compared.stdout)["p_corrected"] == [1, 1]
    fixed = inside("evaluate", run, "--set", "seed=1")
    assert (fixed.returncode, "its recipe is fixed" in fixed.stderr) == (2, True)
    model = recipe_file.read_text().splitlines()[0].split(": ")[1]
    answer = inside("generate", model, "--prompt", "def f(x):", "--adapter", adapter, "--max-new-tokens", "4", "--json")
    assert isinstance(json.loads(answer.stdout)["completion"], str)


@pytest.mark.parametrize(
    "command",
    [
        ("execute", "RUN", "--task", "humaneval"),
        ("execute", "RUN", "--mode", "cold"),
        ("execute", "RUN", "--no-cache"),
        ("execute", "RUN", "--compat"),
        ("generate", "demo", "--adapter", "somewhere"),
        ("generate", "model", "--prompt", "def", "--output", "somewhere"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    command: tuple[str, ...], tmp_path: Path, inside: Callable[..., Any]
) -> None:
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "recipe.yaml").touch()
    done = inside(*(str(tmp_path / word) if word == "RUN" else word for word in command))
    assert (done.returncode, "not to be given here" in done.stderr) == (2, True)


def test_execute_uses_the_cache_and_mode_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXLORA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"language": "py", "program": "import sys; print(sys.argv, sys.flags.isolated)"}) + "\n")

    def execute(*options: str) -> tuple[bool, str]:
        done = flexlora("execute", path, "--overwrite", *options)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "p_results.jsonl").read_text())
        return record["cached"], record["stdout"]

    said = execute("--no-cache", "--mode", "cold")[1]
    assert execute() == (False, said)
    assert execute() == (True, said)
    assert execute("--mode", "fresh") == (True, said)
    assert execute("--no-cache") == (False, said)
    assert flexlora("execute", path, "--mode", "hot").returncode == 2


def test_compat_judges_as_the_publisher_does(tmp_path: Path) -> None:
    try:
        toolchain("cs")
    except ToolchainMissing as missing:
        pytest.skip(str(missing))
    path = tmp_path / "p.jsonl"
    crash = "class Problem { static void Main() { throw new System.Exception(); } }"
    path.write_text(json.dumps({"language": "cs", "program": crash}) + "\n")
    passed = [
        json.loads(flexlora("execute", path, "--overwrite", "--json", *options).stdout)["passed"]
        for options in ((), ("--compat",), ())
    ]
    assert passed == [0, 1, 0]


def test_execute_scores_completions_and_programs_and_continues(benchmark: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    completions = [
        ("HumanEval/0", "    return 2 * x\n"),
        ("HumanEval/0", "    return x\n"),
        ("HumanEval/1", "    return x+x"),
    ]
    samples.write_text("".join(json.dumps({"task_id": t, "completion": c}) + "\n" for t, c in completions))
    command = ["execute", samples, "--task", "humaneval", "--data-dir", benchmark, "--json"]
    done = flexlora(*command)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["samples"], summary["passed"], summary["problems"], summary["pass@1"]) == (3, 2, 2, 0.75)
    results = Path(summary["results"])
    before = results.read_text()
    results.write_text(before[: before.index("\n") + 20])  # as if killed while writing the second line
    assert json.loads(flexlora(*command).stdout) | {"results": ""} == summary | {"results": ""}
    assert len(results.read_text().splitlines()) == 3

    programs = tmp_path / "programs.jsonl"
    programs.write_text(
        '{"language": "py", "program": "print(1)"}\n{"language": "py", "program": "1/0"}\n'
        '{"language": "py", "program": "def"}\n'
    )
    done = flexlora("execute", programs)
    assert "1 of 3 programs passed" in done.stdout
    scored = flexlora("score", tmp_path / "programs_results.jsonl")
    assert scored.stdout.splitlines()[:2] == done.stdout.splitlines()[:2]
    assert json.loads(flexlora("score", results, "--json").stdout)["pass_at_k"] == summary["pass_at_k"]


@pytest.mark.parametrize(
    ("line", "options", "part"),
    [
        ('{"task_id": "HumanEval/0"', ["--task", "humaneval"], "line 1: not valid JSON"),
        ('{"task_id": "HumanEval/9", "completion": ""}', ["--task", "humaneval"], "no problem 'HumanEval/9'"),
        ('{"task_id": "HumanEval/0"}', ["--task", "humaneval"], "no format of samples"),
        ('{"task_id": "Java/0", "completion": ""}', [], "--task multipl-e/humaneval/java"),
        ('{"language": "cobol", "program": ""}', [], "`language` must be one of"),
        ("", [], "holds no samples"),
    ],
)
def test_wrong_samples_are_named(line: str, options: list[str], part: str, benchmark: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text(line + "\n")
    done = flexlora("execute", samples, *options, *(["--data-dir", benchmark] if options else []))
    assert done.returncode == 2
    assert part in done.stderr
    assert not (tmp_path / "samples_results.jsonl").exists()


def test_commands_that_share_no_work_start_with_one_process(
    monkeypatch: pytest.MonkeyPatch, inside: Callable[..., Any], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (("recipes",), ("export", str(tmp_path), "--output", "x"), ("generate", "tiny", "--prompt", "def")):
        done = inside(*command)
        assert done.returncode == 2
        assert "2 processes were started" in done.stderr or "one prompt is answered by one process" in done.stderr
