"""Scores and comparisons of likelihoods: known values, known truth, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest

from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.intervals import ratio_bootstrap
from flexlora.evaluation.likelihood import (
    LikelihoodEntry,
    Recorded,
    compare_functions,
    read_likelihoods,
    score_likelihoods,
)
from flexlora.evaluation.schema import Side
from flexlora.files import append_jsonl

BASE: Side = {"arm": None, "variant": "base", "model": "m"}
ADAPTER: Side = {"arm": "main", "variant": "adapter", "model": "m"}


def functions(nll: list[float], tokens: int = 10, characters: int = 40, cut: bool = False) -> dict[str, Recorded]:
    return {f"f/{i}": Recorded(tokens, characters, value, cut) for i, value in enumerate(nll)}


def write(folder: Path, nll: list[float], tokens: list[int]) -> frozenset[str]:
    for i, (value, count) in enumerate(zip(nll, tokens, strict=True)):
        record = {"task_id": f"f/{i}", "language": "go", "tokens": count, "characters": 4 * count, "nll": value}
        append_jsonl(folder / "likelihood.jsonl", {**record, "cut": count == 0})
    return frozenset(f"f/{i}" for i in range(len(nll)))


def test_rates_are_sums_over_sums(tmp_path: Path) -> None:
    expected = write(tmp_path / "base/t", [2.0, 30.0, 0.0], [2, 10, 0])
    entry = LikelihoodEntry(
        arm=None, variant="base", model="m", task="t", language="go", path="base/t", expected=expected
    )
    (score,) = score_likelihoods(tmp_path, [entry])["scores"]
    assert score["nats_per_token"]["estimate"] == pytest.approx(32 / 12)
    assert score["bits_per_character"]["estimate"] == pytest.approx(32 / math.log(2) / 48)
    assert (score["functions"], score["left_out"], score["cut"], score["tokens"], score["characters"]) == (
        2,
        1,
        0,
        12,
        48,
    )
    # Every resample of two functions has a ratio between those of each alone.
    assert score["nats_per_token"]["low"] == pytest.approx(1)
    assert score["nats_per_token"]["high"] == pytest.approx(3)


def test_the_interval_holds_the_true_rate_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    truth, held = 0.7, 0
    for trial in range(200):
        tokens = generator.integers(5, 200, size=80)
        nll = generator.gamma(shape=tokens / 20, scale=20 * truth)  # of mean `truth` a token, uneven between functions
        interval, _ = ratio_bootstrap(nll.tolist(), tokens.tolist(), seed=trial, resamples=500)
        held += interval.low <= truth <= interval.high
    assert 0.88 <= held / 200 <= 0.98


def test_without_a_difference_a_difference_is_rarely_shown_and_a_real_one_mostly() -> None:
    generator = np.random.default_rng(2)
    false = shown = 0
    for trial in range(200):
        tokens = generator.integers(5, 200, size=60)
        noise = generator.normal(0, np.sqrt(tokens))
        false += ratio_bootstrap(noise.tolist(), tokens.tolist(), seed=trial, resamples=500)[1] < 0.05
        shown += ratio_bootstrap((noise - 0.06 * tokens).tolist(), tokens.tolist(), seed=trial, resamples=500)[1] < 0.05
    assert false / 200 <= 0.11
    assert shown / 200 >= 0.8


def test_large_samples_are_drawn_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values, per = [0.1, -0.3, 0.2, 0.05], [1, 5, 2, 9]
    whole = ratio_bootstrap(values, per, seed=3)
    monkeypatch.setattr("flexlora.evaluation.intervals.DRAWN_AT_ONCE", 1)
    in_parts = ratio_bootstrap(values, per, seed=3)
    assert in_parts[0].low == pytest.approx(whole[0].low, abs=0.01)
    assert in_parts[0].high == pytest.approx(whole[0].high, abs=0.01)
    with pytest.raises(UsageError, match="come in pairs"):
        ratio_bootstrap([1.0], [])


def test_a_comparison_is_paired_and_signed() -> None:
    before, after = functions([10, 20, 30, 40, 50, 60, 70, 80]), functions([9, 18, 27, 36, 45, 54, 63, 81])
    found = compare_functions(before, after, ADAPTER, BASE, "t", "go")
    assert found["nats_per_token"] is not None
    assert found["nats_per_token"]["difference"] == pytest.approx(-27 / 80)
    assert found["bits_per_character"]["difference"] == pytest.approx(-27 / math.log(2) / 320)
    assert (found["functions"], found["likelier"], found["less_likely"]) == (8, 7, 1)
    assert found["nats_per_token"]["high"] < 0
    assert found["p_value"] < 0.05
    same = compare_functions(before, before, ADAPTER, BASE, "t", "go")
    assert (same["p_value"], same["likelier"], same["less_likely"]) == (1.0, 0, 0)
    assert same["bits_per_character"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_few_functions_show_nothing_however_large_the_difference() -> None:
    found = compare_functions(functions([10.0] * 3), functions([1.0, 2.0, 3.0]), ADAPTER, BASE, "t", "go")
    assert found["p_value"] >= 0.25  # a sign test on three


def test_other_tokenizers_are_compared_by_character_and_on_whole_functions_only() -> None:
    other = functions([5.0, 6.0, 7.0], tokens=8)
    found = compare_functions(functions([6.0, 7.0, 8.0]), other, ADAPTER, BASE, "t", "go")
    assert found["nats_per_token"] is None
    assert found["bits_per_character"]["difference"] == pytest.approx(-3 / math.log(2) / 120)
    cut = {**other, "f/1": Recorded(3, 11, 1.0, True)}
    assert compare_functions(functions([6.0, 7.0, 8.0]), cut, ADAPTER, BASE, "t", "go")["functions"] == 2
    with pytest.raises(UsageError, match="no function in common"):
        compare_functions(functions([1.0]), functions([1.0], tokens=3, cut=True), ADAPTER, BASE, "t", "go")


def test_missing_likelihoods_are_an_error_and_further_ones_are_none(tmp_path: Path) -> None:
    expected = write(tmp_path, [1.0, 2.0], [1, 1])
    file = tmp_path / "likelihood.jsonl"
    assert list(read_likelihoods(file, frozenset(["f/1"]))) == ["f/1"]
    with pytest.raises(FlexError, match=r"1 of 3 likelihoods are missing \(f/7\)"):
        read_likelihoods(file, expected | {"f/7"})


def test_texts_that_could_not_be_scored_at_all_are_an_error(tmp_path: Path) -> None:
    expected = write(tmp_path / "base/t", [0.0], [0])
    entry = LikelihoodEntry(
        arm=None, variant="base", model="m", task="t", language="go", path="base/t", expected=expected
    )
    with pytest.raises(UsageError, match="none of its 1 texts could be scored"):
        score_likelihoods(tmp_path, [entry])
