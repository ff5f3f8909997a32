"""What trials show: the front, the choice, what mattered, and the files that are written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stand_in import PLAN, Formula, side

from flexlora.errors import UsageError
from flexlora.recipe import load
from flexlora.report.search_page import write_search_report
from flexlora.report.search_terminal import print_search
from flexlora.studies.search import processes, storage
from flexlora.studies.search.best import write_best
from flexlora.studies.search.budget import Budget
from flexlora.studies.search.findings import SearchFindings, TrialRecord, choice, front, gather
from flexlora.studies.search.plan import write_plan
from flexlora.studies.search.pruning import Signals, Stopped, after_training, in_training
from flexlora.studies.search.running import run_search
from flexlora.studies.search.signals import Side
from flexlora.studies.search.work import work


def record(number: int, gain: Side, retention: Side) -> TrialRecord:
    return {
        "number": number,
        "folder": f"trials/{number}",
        "state": "finished",
        "values": {},
        "seconds": 1.0,
        "gain": gain,
        "retention": retention,
        "likelihood": None,
        "validation_loss": None,
        "stage": None,
        "reason": None,
    }


def records(*points: tuple[float, float]) -> list[TrialRecord]:
    return [record(i, side(gain), side(kept)) for i, (gain, kept) in enumerate(points)]


def test_the_front_is_what_no_trial_is_better_than_on_both_sides() -> None:
    points = [(0.1, 0.0), (0.2, -0.1), (0.1, -0.05), (0.05, -0.2), (0.3, -0.3), (0.2, -0.1)]
    brute = {
        i
        for i, (g, k) in enumerate(points)
        if not any((g2 >= g and k2 > k) or (g2 > g and k2 >= k) for g2, k2 in points)
    }
    found = front(records(*points))
    assert set(found) == brute == {0, 1, 4, 5}
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


def test_the_largest_gain_is_chosen_whose_retention_may_be_the_bases() -> None:
    done = records((0.05, 0.0), (0.10, -0.015), (0.20, -0.03))  # intervals reach 0.02 either way
    chosen = choice(done)
    assert chosen is not None
    assert chosen["trial"] == 1


def test_where_all_lose_the_one_that_retains_most_is_chosen_and_it_is_said() -> None:
    chosen = choice(records((0.1, -0.1), (0.2, -0.2)))
    assert chosen is not None
    assert chosen["trial"] == 0
    assert "retains less" in chosen["rule"]


def test_a_trial_may_be_named_and_one_that_is_not_there_is_refused() -> None:
    done = records((0.1, -0.1), (0.2, -0.2))
    assert choice(done, "1") == {"trial": 1, "rule": "named by hand"}
    for name in ("2", "most", "-1"):
        with pytest.raises(UsageError, match="number of a finished trial"):
            choice(done, name)
    assert choice([]) is None


def test_early_stops_wait_for_enough_finished_trials_and_need_both_sides() -> None:
    finished = [Signals({10: loss}, change) for loss, change in ((1.0, 0.0), (1.2, 0.1), (1.4, 0.2))]
    in_training(10, 9.0, finished, startup=4)
    in_training(10, 1.4, finished, startup=3)
    in_training(20, 9.0, finished, startup=3)  # of that step nothing is known
    with pytest.raises(Stopped, match="worse than all 3"):
        in_training(10, 1.41, finished, startup=3)
    for loss, change in ((1.3, 0.1), (1.2, 0.3), (1.1, 9.0), (9.0, -1.0)):
        after_training(Signals({10: loss}, change), finished, startup=3)
    after_training(Signals({10: 9.0}, 9.0), finished, startup=4)
    after_training(Signals({}, 9.0), finished, startup=3)
    after_training(Signals({10: 9.0}, None), finished, startup=3)
    with pytest.raises(Stopped, match="both sides"):
        after_training(Signals({10: 1.3}, 0.11), finished, startup=3)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchFindings]:
    folder = tmp_path_factory.mktemp("search")
    study = storage.open_trials(folder)
    work(PLAN, folder, Formula(), Budget(trials=25), study=study)
    return folder, gather(PLAN, study)


def test_a_trial_that_is_worse_on_both_sides_is_stopped_and_says_why(searched: tuple[Path, SearchFindings]) -> None:
    stopped = [one for one in searched[1]["trials"] if one["state"] == "stopped"]
    assert stopped
    assert min(one["number"] for one in stopped) >= PLAN.search.startup
    assert all(one["reason"] and one["stage"] in ("validation loss", "likelihood") for one in stopped)
    assert not {one["number"] for one in stopped} & set(searched[1]["front"])


def test_what_matters_is_told_from_what_does_not(searched: tuple[Path, SearchFindings]) -> None:
    importances = searched[1]["importances"]
    assert importances is not None
    for shares in importances.values():
        assert set(shares) == set(PLAN.search.space)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["lora.rank"] < 0.2  # the formula does without it


def test_few_trials_say_nothing_of_what_matters(tmp_path: Path) -> None:
    study = storage.open_trials(tmp_path)
    work(PLAN, tmp_path, Formula(), Budget(trials=4), study=study)
    assert gather(PLAN, study)["importances"] is None


def test_best_yaml_is_the_recipe_with_the_chosen_values_and_its_own_test_tasks(
    searched: tuple[Path, SearchFindings],
) -> None:
    folder, findings = searched
    path = write_best(PLAN, findings, folder)
    assert path is not None
    best, chosen = load(path), findings["choice"]
    assert chosen is not None
    values = findings["trials"][chosen["trial"]]["values"]
    assert best.lora.rank == values["lora.rank"]
    assert best.penalty.lam == values["penalty.lam"]
    assert best.optimizer.learning_rate == values["optimizer.learning_rate"]
    assert best.tasks == PLAN.recipe.tasks
    assert all(task.split is None for task in best.tasks)
    assert best.data == PLAN.recipe.data
    header = path.read_text().split("model:")[0]
    assert f"trial {chosen['trial']} of 25 (" in header
    assert chosen["rule"] in header


def test_the_page_and_the_terminal_show_the_front_and_fetch_nothing(
    searched: tuple[Path, SearchFindings],
) -> None:
    folder, findings = searched
    page = write_search_report(folder, findings).read_text()
    assert page.count("<circle") == sum(one["state"] == "finished" for one in findings["trials"])
    assert not re.search(r"(src|href)=|url\(|<script|\bnan\b|None", page)
    console = Console(width=140, record=True, file=(folder / "out.txt").open("w"))
    print_search(findings, console)
    text = console.export_text()
    assert all(re.search(rf"\b{number}\b", text) for number in findings["front"])
    assert "penalty.lam" in text
    assert "validation problems" in text


def test_the_page_of_a_search_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    def fail(count: int) -> Any:
        raise ValueError("<b>not</b> & never")

    study = storage.open_trials(tmp_path)
    work(PLAN, tmp_path, Formula(meanwhile=fail), Budget(trials=2), study=study)
    findings = json.loads(json.dumps(gather(PLAN, study)))
    page = write_search_report(tmp_path, findings).read_text()
    assert "nothing to choose" in page
    policy = page[page.index("Content-Security-Policy") : page.index("base-uri")]
    assert "style-src &#39;sha256-" in policy
    assert "unsafe" not in policy
    assert len(re.findall("<style>", page)) == 1
    assert not re.search(r"\sstyle=", page)
    assert "<b>not" not in page
    assert write_best(PLAN, findings, tmp_path) is None


def test_without_a_further_trial_another_one_can_be_chosen(tmp_path: Path) -> None:
    write_plan(PLAN, tmp_path / "new")
    study = storage.open_trials(tmp_path / "new")
    work(PLAN, tmp_path / "new", Formula(), Budget(trials=3), study=study)
    found = run_search(PLAN, tmp_path / "new", Budget(trials=0), choose="2")
    assert found["choice"] == {"trial": 2, "rule": "named by hand"}
    named = tmp_path / "new" / "best-2.yaml"
    assert load(named).lora.rank == found["trials"][2]["values"]["lora.rank"]
    assert not (tmp_path / "new" / "logs").exists()  # no worker was started
    text = named.read_text()
    again = run_search(PLAN, tmp_path / "new", Budget(trials=0))
    assert named.read_text() == text
    assert json.loads((tmp_path / "new" / "search.json").read_text()) == again
    assert again["choice"] != found["choice"]
    assert "Rule: named by hand" not in (tmp_path / "new" / "best.yaml").read_text()


class Endless:
    """In the place of a worker's process."""

    exitcode: int | None = None

    def terminate(self) -> None:
        self.exitcode = -15

    def join(self, timeout: float | None = None) -> None:
        assert self.exitcode is not None, "would be waited for until its budget is spent"


def test_an_interrupted_search_ends_its_workers_and_writes_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(PLAN, tmp_path)
    work(PLAN, tmp_path, Formula(), Budget(trials=3), study=storage.open_trials(tmp_path))
    started: list[tuple[Endless, dict[str, Any]]] = []

    def start(number: int, **given: Any) -> Endless:
        started.append((Endless(), given["how"]))
        return started[-1][0]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setattr(processes, "cores", lambda: 6)
    monkeypatch.setattr("flexlora.studies.search.running.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_search(PLAN, tmp_path, Budget(trials=9), workers=2)
    assert [process.exitcode for process, _ in started] == [-15, -15]
    assert [how["workers"] for _, how in started] == [3, 3]  # programs at a time
    assert len(json.loads((tmp_path / "search.json").read_text())["front"]) >= 1
    assert (tmp_path / "best.yaml").is_file()
    assert (tmp_path / "report.html").is_file()
