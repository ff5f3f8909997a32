"""How trials are judged, on files made by hand; and one real trial of a small random model, from base to results."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_recipe import own_texts, small_recipe

from flexlora.data.tasks import load_problems
from flexlora.data.texts import load_texts
from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.schema import read_summary
from flexlora.folder import RunFolder, existing
from flexlora.recipe import from_dict
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.plan import SearchPlan, plan_search, read_plan, write_plan
from flexlora.studies.search.pruning import Signals, Stopped
from flexlora.studies.search.running import check
from flexlora.studies.search.signals import likelihood_side, side
from flexlora.studies.search.trial import StopEarly, Trials


def a_plan(recipe: dict[str, Any], search: dict[str, Any], tmp_path: Path) -> SearchPlan:
    (tmp_path / "space.yaml").write_text(json.dumps(search))
    return plan_search(from_dict(recipe), (), tmp_path / "space.yaml")


@pytest.fixture
def tiny(tmp_path: Path) -> SearchPlan:
    recipe = {"model": "tiny", "data": [{"dataset": "tiny/B1/py", "limit": 20}], "tasks": ["tiny/B1/py"]}
    judged = [{"name": f"tiny/A/{lang}", "split": "validation", "limit": n} for lang, n in (("java", 4), ("js", 2))]
    texts = [{"dataset": "tiny/A/java", "split": "validation", "limit": 3}]
    return a_plan(recipe, {"retention": judged, "likelihood": texts}, tmp_path)


def write_results(run: RunFolder, passing: dict[str, str]) -> None:
    """Verdicts by hand: for each task a mark a problem, `x` for one that passes."""
    for item in run.evaluations():
        problems, _ = load_problems(item.task, None)  # type: ignore[arg-type]  # evaluations are of tasks
        folder = run.path / item.path
        folder.mkdir(parents=True, exist_ok=True)
        marks = passing.get(item.task.name, "." * len(problems))
        with (folder / "results.jsonl").open("w") as file:
            for problem, mark in zip(problems, marks, strict=True):
                status = "OK" if mark == "x" else "Exception"
                record = {"task_id": problem.task_id, "sample": 0, "status": status, "passed": mark == "x"}
                file.write(json.dumps(record) + "\n")


def test_a_side_is_the_mean_over_tasks_of_changes_from_the_base(tiny: SearchPlan, tmp_path: Path) -> None:
    base = RunFolder(recipe=tiny.of_base(), path=tmp_path / "base")
    run = RunFolder(recipe=tiny.of_trial({}), path=tmp_path / "trial")
    write_results(base, {"tiny/A/java": "xx..", "tiny/A/js": "x."})
    write_results(run, {"tiny/A/java": "xxx.", "tiny/A/js": ".."})
    found = side(run, base, tiny.search.retention, Guard.of(tiny.recipe), seed=0)
    assert found["tasks"] == {"tiny/A/java": 0.25, "tiny/A/js": -0.5}
    assert found["estimate"] == pytest.approx((0.25 - 0.5) / 2)
    assert found["low"] <= found["estimate"] <= found["high"]
    assert found["low"] < found["high"]


def test_scores_of_a_run_that_holds_test_problems_are_not_read(tiny: SearchPlan, tmp_path: Path) -> None:
    """Even where somebody has put one in the place of a trial."""
    base = RunFolder(recipe=tiny.of_base(), path=tmp_path / "base")
    values = tiny.of_trial({}).model_dump(mode="json")
    tested = from_dict(values | {"tasks": ["tiny/A/java"]})
    with pytest.raises(UsageError, match="may not judge a trial"):
        side(RunFolder(recipe=tested, path=tmp_path), base, tiny.search.retention, Guard.of(tiny.recipe), seed=0)
    with pytest.raises(UsageError, match="may not judge a trial"):
        likelihood_side(RunFolder(recipe=tested, path=tmp_path), base, Guard.of(tiny.recipe), seed=0)


def write_likelihoods(run: RunFolder, nll: list[float]) -> None:
    (item,) = run.likelihoods()
    texts, _ = load_texts(item.task, None)
    (run.path / item.path).mkdir(parents=True, exist_ok=True)
    with (run.path / item.path / "likelihood.jsonl").open("w") as file:
        for text, one, tokens in zip(texts, nll, (10, 20, 70), strict=True):
            record = {"task_id": text.task_id, "tokens": tokens, "characters": 99, "nll": one, "cut": False}
            file.write(json.dumps(record) + "\n")


def test_likelihood_counts_tokens_and_more_is_better(tiny: SearchPlan, tmp_path: Path) -> None:
    base = RunFolder(recipe=tiny.of_base(), path=tmp_path / "base")
    run = RunFolder(recipe=tiny.of_trial({}), path=tmp_path / "trial")
    write_likelihoods(base, [10, 20, 30])
    write_likelihoods(run, [8, 21, 24])
    found = likelihood_side(run, base, Guard.of(tiny.recipe), seed=0)
    assert found["estimate"] == pytest.approx((2 - 1 + 6) / 100)
    assert found["unit"] == "nats"
    assert found["low"] <= found["estimate"] <= found["high"]


def test_programs_are_run_where_the_cheap_signals_let_them(
    tiny: SearchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of a trial, on files made by hand in place of each stage."""
    plan = SearchPlan(recipe=tiny.recipe, search=tiny.search.model_copy(update={"startup": 1}))
    base = RunFolder(recipe=plan.of_base(), path=tmp_path / "base")
    write_results(base, {"tiny/A/java": "xx.."})
    write_likelihoods(base, [10, 20, 30])
    stages: list[str] = []

    def train(run: RunFolder, probe: bool, callbacks: list[StopEarly]) -> None:
        run.train("main").mkdir(parents=True)
        (run.train("main") / "log.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "eval_loss": 1.5}\n')
        callbacks[0].on_log(None, SimpleNamespace(global_step=2), None, {"loss": 9.0})
        callbacks[0].on_log(None, SimpleNamespace(global_step=2), None, {"eval_loss": 1.5})
        stages.append("trained")

    def execute(run: RunFolder, **how: Any) -> None:
        stages.append("executed")
        write_results(run, {"tiny/A/java": "xxx."})

    stub = SimpleNamespace(
        start=lambda recipe, folder, **how: (RunFolder(recipe=recipe, path=folder), None),
        working=lambda run, **how: nullcontext(),
        train=train,
        likelihood=lambda run: write_likelihoods(run, [10, 20, 40]),
        generate=lambda run, how: None,
        execute=execute,
        score=lambda run: None,
        report=lambda run: None,
    )
    monkeypatch.setattr("flexlora.studies.search.trial.pipeline", stub)
    monkeypatch.setattr("flexlora.studies.search.trial.existing", lambda path: base)
    trials, noted = Trials(plan, tmp_path), dict[str, Any]()
    found = trials.trial({}, tmp_path / "0", [], lambda **more: noted.update(more))
    assert stages == ["trained", "executed"]
    assert noted["losses"] == {"2": 1.5}
    assert noted["likelihood"]["estimate"] == pytest.approx(-0.1)
    assert found.retention["tasks"]["tiny/A/java"] == 0.25
    stages.clear()
    noted.clear()
    with pytest.raises(Stopped, match="at step 2, worse than all 1"):
        trials.trial({}, tmp_path / "1", [Signals({2: 1.0}, -1.0)], lambda **more: noted.update(more))
    assert stages == []
    assert noted == {"losses": {"2": 1.5}}  # by which it was stopped
    three = [Signals({2: loss}, -1.0) for loss in (1.0, 1.0, 2.0)]
    with pytest.raises(Stopped, match="on both sides"):
        trials.trial({}, tmp_path / "2", three, lambda **more: None)
    assert stages == ["trained"]


def test_a_plan_is_written_read_and_another_refused(tiny: SearchPlan, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    write_plan(tiny, folder)
    write_plan(tiny, folder)
    assert read_plan(folder) == tiny
    other = SearchPlan(recipe=tiny.recipe, search=tiny.search.model_copy(update={"startup": 9}))
    with pytest.raises(UsageError, match=r"holds another search:\n- search.startup: 5 there, 9 now"):
        write_plan(other, folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        write_plan(tiny, tmp_path / "mine")


@pytest.fixture(scope="module")
def small(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchPlan, Path]:
    folder = tmp_path_factory.mktemp("small")
    tests = folder / "double.jsonl"
    one = {"prompt": "def four():\n", "tests": "assert four() == 4\n", "stop_tokens": ["\ndef"], "language": "py"}
    tests.write_text(json.dumps(one) + "\n")
    search = {
        "space": {"lora.rank": [2, 4], "penalty.lam": {"low": 0.001, "high": 1.0, "log": True, "zero": 0.1}},
        "gain": [{"name": "mbpp", "split": "validation"}],
        "retention": [str(tests)],
        "likelihood": [own_texts(folder)],
        "startup": 1,
    }
    return a_plan(small_recipe(small_model, folder), search, folder), folder / "search"


@pytest.mark.thorough
@pytest.mark.slow
def test_a_trial_is_a_run_with_its_signals_and_is_stopped_in_training_where_all_were_better(
    small: tuple[SearchPlan, Path],
) -> None:
    plan, folder = small
    write_plan(plan, folder)
    trials = Trials(plan, folder)
    trials.base()
    assert {score["variant"] for score in read_summary(folder / "base")["scores"]} == {"base"}
    noted: dict[str, Any] = {}
    values = {"lora.rank": 2, "penalty.lam": 0.0}
    found = trials.trial(values, folder / "trials" / "0", [], lambda **more: noted.update(more))
    summary = read_summary(folder / "trials" / "0")
    assert [score["task"] for score in summary["scores"]] == ["mbpp", plan.search.retention[0].name]
    assert existing(folder / "trials" / "0").recipe.lora.rank == 2
    assert (found.gain["unit"], found.gain["estimate"]) == ("share", 0.0)
    assert list(noted["losses"]) == ["2", "4"]
    assert noted["likelihood"]["unit"] == "nats"
    better = [Signals({2: 0.0, 4: 0.0}, -1.0)]
    with pytest.raises(Stopped, match="at step 2, worse than all 1"):
        trials.trial(values | {"lora.rank": 4}, folder / "trials" / "1", better, lambda **more: noted.update(more))
    assert list(noted["losses"]) == ["2"]
    assert not (folder / "trials" / "1" / "main" / "train" / "adapter").exists()
    later = [Signals({4: 99.0}, -1.0), Signals({4: 0.0}, -1.0), Signals({4: 0.0}, -1.0)]
    with pytest.raises(Stopped, match="on both sides"):
        trials.trial(values, folder / "trials" / "0", later, lambda **more: None)


def test_everything_is_checked_before_the_start(small: tuple[SearchPlan, Path], tmp_path: Path) -> None:
    plan, _ = small
    assert check(plan, tmp_path / "new")["likelihood"] == {"texts": 1}
    assert not (tmp_path / "new").exists()

    def with_space(space: dict[str, Any]) -> SearchPlan:
        recipe = plan.recipe
        return SearchPlan(recipe=recipe, search=plan.search.model_copy(update={"space": space}))

    with pytest.raises(FlexError, match="no_such_proj"):
        check(with_space({"lora.targets": ("mlp", ("no_such_proj",))}), tmp_path / "new")
    with pytest.raises(UsageError, match="points that make no recipe"):
        check(with_space({"lora.dropout": (0.0, 2.0)}), tmp_path / "new")
