"""Workers: budgets, failures, trials that lose their process, several at once, early stops. Trials are a formula."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from stand_in import PLAN, Clock, Formula

from flexlora.errors import FlexError, UsageError
from flexlora.studies.search import storage
from flexlora.studies.search.budget import Budget, seconds
from flexlora.studies.search.findings import gather
from flexlora.studies.search.work import IN_A_ROW, work


def search(folder: Path, trials: Formula, budget: Budget, **given: Any) -> str:
    return work(PLAN, folder, trials, budget, study=storage.open_trials(folder), **given)


def states(folder: Path) -> list[str]:
    return [one["state"] for one in gather(PLAN, storage.open_trials(folder))["trials"]]


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_a_budget_is_written_with_units(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-1h", "0s", "2h?"])
def test_a_budget_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="2h, 30m"):
        seconds(text)


def test_a_trial_that_would_not_fit_is_not_begun(tmp_path: Path) -> None:
    clock = Clock()
    trials = Formula(clock, seconds=60)
    budget = Budget(seconds=200, clock=clock, started=clock.now)
    ended = search(tmp_path, trials, budget, clock=clock)
    assert len(trials.done) == 3  # 180 s; the fourth would end at 240
    assert ended == "20 s are left, and a trial takes about 60 s"


def test_trials_are_counted_over_commands_and_the_base_is_asked_for_by_each(tmp_path: Path) -> None:
    first, second = Formula(), Formula()
    search(tmp_path, first, Budget(trials=3))
    search(tmp_path, second, Budget(trials=5))
    assert (len(first.done), len(second.done)) == (3, 2)
    assert search(tmp_path, Formula(), Budget(trials=5)) == "5 of 5 trials are there"
    folders = [folder.name for folder, _ in (*first.done, *second.done)]
    assert folders == ["0", "1", "2", "3", "4"]


def test_the_recipes_own_values_come_first_then_those_without_a_penalty(tmp_path: Path) -> None:
    trials = Formula()
    search(tmp_path, trials, Budget(trials=3))
    own = {"penalty.lam": 0.02, "lora.rank": 8, "optimizer.learning_rate": 2e-4}
    assert [values for _, values in trials.done[:2]] == [own, own | {"penalty.lam": 0.0}]


def test_equal_searches_draw_equal_values(tmp_path: Path) -> None:
    one, other = Formula(), Formula()
    search(tmp_path / "one", one, Budget(trials=14))
    search(tmp_path / "other", other, Budget(trials=14))
    assert [values for _, values in one.done] == [values for _, values in other.done]
    assert len({json.dumps(values, sort_keys=True) for _, values in one.done}) == 14


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    def fail(count: int) -> None:
        if count == 2:
            raise FlexError("out of memory, say")
        if count == 3:
            raise ZeroDivisionError

    search(tmp_path, Formula(meanwhile=fail), Budget(trials=4))
    found = gather(PLAN, storage.open_trials(tmp_path))["trials"]
    assert [one["state"] for one in found] == ["finished", "failed", "failed", "finished"]
    assert found[1]["reason"] == "out of memory, say"
    assert "ZeroDivisionError" in (found[2]["reason"] or "")


def test_a_worker_gives_up_where_every_trial_fails(tmp_path: Path) -> None:
    def fail(count: int) -> None:
        raise FlexError("no such thing")

    trials = Formula(meanwhile=fail)
    with pytest.raises(FlexError, match="in a row; the last one: no such thing"):
        search(tmp_path, trials, Budget(trials=100))
    assert len(trials.done) == IN_A_ROW


class Killed(BaseException):
    """Passes through everything, as the end of a process does."""


def test_a_trial_whose_process_was_killed_is_gone_on_with_in_its_folder(tmp_path: Path) -> None:
    def die(count: int) -> None:
        if count == 3:
            raise Killed

    killed, after = Formula(meanwhile=die), Formula()
    with pytest.raises(Killed):
        search(tmp_path, killed, Budget(trials=4))
    assert states(tmp_path) == ["finished", "finished", "running"]
    search(tmp_path, after, Budget(trials=4))
    assert after.done[0] == killed.done[-1]  # its folder, and its values
    assert states(tmp_path) == ["finished", "finished", "lost", "finished", "finished"]
    lost = gather(PLAN, storage.open_trials(tmp_path))["trials"][2]
    assert lost["reason"] == "its process ended"


def test_a_trial_that_always_kills_its_process_is_given_up(tmp_path: Path) -> None:
    def die(count: int) -> None:
        raise Killed

    killed = Formula(meanwhile=die)
    for _ in range(2 * storage.ATTEMPTS):  # of the two that come first
        with pytest.raises(Killed):
            search(tmp_path, killed, Budget(trials=2))
    assert search(tmp_path, killed, Budget(trials=2)) == "2 of 2 trials are there"
    assert sorted(states(tmp_path)) == ["failed"] * 2 + ["lost"] * 2 * (storage.ATTEMPTS - 1)
    assert sorted(folder.name for folder, _ in killed.done) == ["0"] * storage.ATTEMPTS + ["1"] * storage.ATTEMPTS


def test_what_is_called_lost_is_gone_on_with(tmp_path: Path) -> None:
    study = storage.open_trials(tmp_path)
    study.ask()  # and killed before anything is drawn
    with storage.claiming(tmp_path):
        assert storage.take_over(study, tmp_path) == [0]
    (found,) = gather(PLAN, study)["trials"]
    assert (found["state"], found["reason"]) == ("failed", "its process ended before it had values")


def test_a_trial_of_a_worker_that_lives_is_left_to_it(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(count: int) -> None:
        if count == 1:
            begun.set()
            assert go_on.wait(60)

    slow = Formula(meanwhile=wait)
    thread = threading.Thread(target=search, args=(tmp_path, slow, Budget(trials=3)))
    thread.start()
    assert begun.wait(60)
    quick = Formula()
    search(tmp_path, quick, Budget(trials=3))
    go_on.set()
    thread.join(60)
    assert (len(slow.done), len(quick.done)) == (1, 2)
    assert states(tmp_path) == ["finished"] * 3


def test_two_workers_share_the_trials_and_draw_none_twice(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def meet(count: int) -> None:
        if count <= 2:
            both.wait(60)  # so that both work at once

    trials = Formula(meanwhile=meet)
    threads = [threading.Thread(target=search, args=(tmp_path, trials, Budget(trials=9))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(int(folder.name) for folder, _ in trials.done) == list(range(9))
    assert len({json.dumps(values, sort_keys=True) for _, values in trials.done}) == 9


def test_a_journal_whose_last_line_is_torn_goes_on(tmp_path: Path) -> None:
    search(tmp_path, Formula(), Budget(trials=2))
    with (tmp_path / storage.JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    search(tmp_path, Formula(), Budget(trials=3))
    assert states(tmp_path) == ["finished"] * 3


def test_a_database_holds_trials_as_the_journal_does(tmp_path: Path) -> None:
    study = storage.open_trials(tmp_path, f"sqlite:///{tmp_path / 'trials.db'}")
    work(PLAN, tmp_path, Formula(), Budget(trials=1), study=study)
    assert [one["state"] for one in gather(PLAN, study)["trials"]] == ["finished", "waiting"]
    assert not (tmp_path / storage.JOURNAL).exists()
    with pytest.raises(UsageError, match="cannot be opened"):
        storage.open_trials(tmp_path, "nothing://at/all")


def test_searches_of_one_database_are_told_apart_also_by_folders_of_one_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    one, other = tmp_path / "a" / "s", tmp_path / "b" / "s"
    study = storage.open_trials(one, url)
    study.ask()
    other_study = storage.open_trials(other, url)
    assert other_study.get_trials() == []
    assert storage.take_over(other_study, other) == []
    moved = one.rename(tmp_path / "moved")
    assert len(storage.open_trials(moved, url).get_trials()) == 1
