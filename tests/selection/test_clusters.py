import itertools
import random
from math import sqrt

import pytest

from flexlora.selection import Group, by_agreement, by_logprob, by_outputs
from flexlora.selection.scores import selected


def test_agreement_takes_the_group_with_the_greatest_product_of_completions_and_tests() -> None:
    # Three agree on four tests (12), four on two (8), one passes five (5).
    passed = {0: [0, 1, 2, 3], 1: [3, 2, 1, 0], 2: [0, 1, 2, 3], 3: [4, 5], 4: [4, 5], 5: [4, 5], 6: [4, 5]}
    passed[7] = [0, 1, 2, 3, 4]
    assert by_agreement(passed, [1] * 6) == Group((0, 1, 2), 12.0)


def test_the_published_code_takes_a_root_and_counts_a_test_as_often_as_it_was_written() -> None:
    passed = {0: [0], 1: [0], 2: [0], 3: [0], 4: [1, 2]}
    assert by_agreement(passed, [1, 1, 1]) == Group((0, 1, 2, 3), 4.0)
    # sqrt(4) * 1 against sqrt(1) * (1 + 5)
    assert by_agreement(passed, [1, 1, 5], "sqrt") == Group((4,), 6.0)
    assert by_agreement({0: [0], 1: [0], 2: [1]}, [1, 1], "sqrt").score == pytest.approx(sqrt(2))


def test_groups_with_equal_scores_are_joined_and_nothing_known_chooses_all() -> None:
    assert by_agreement({0: [0], 1: [1], 2: []}, [1, 1]) == Group((0, 1), 1.0)
    assert by_agreement({0: [], 1: [], 2: []}, []) == Group((0, 1, 2), 0.0)
    assert by_outputs({0: [], 1: []}) == Group((0, 1), 0.0)


def test_agreement_does_not_depend_on_the_order_of_samples_and_tests() -> None:
    generator = random.Random(0)
    passed = {i: [t for t in range(6) if generator.random() < 0.5] for i in range(12)}
    written = [generator.randint(1, 4) for _ in range(6)]
    for score in ("product", "sqrt"):
        expected = by_agreement(passed, written, score)
        for _ in range(5):
            mixed = {i: generator.sample(passed[i], len(passed[i])) for i in generator.sample(sorted(passed), 12)}
            assert by_agreement(mixed, written, score) == expected
        # By the definition, over every set of tests that some completion passes.
        worth: dict[float, list[int]] = {}
        for tests in {frozenset(one) for one in passed.values()}:
            samples = [i for i, one in passed.items() if frozenset(one) == tests]
            size, weight = len(samples), sum(written[test] for test in tests)
            value = size * len(tests) if score == "product" else sqrt(size) * weight
            worth.setdefault(round(value, 9), []).extend(samples)
        assert expected.samples == tuple(sorted(worth[max(worth)]))


def test_the_majority_has_the_commonest_outputs_and_errors_alone_win_against_nothing() -> None:
    outputs = {0: ["4\n", None], 1: ["4\n", None], 2: ["5\n", "7\n"], 3: [None, None], 4: [None, None], 5: [None, None]}
    assert by_outputs(outputs) == Group((0, 1), 2.0)
    assert by_outputs({0: [None], 1: [None]}) == Group((0, 1), 0.0)


def test_the_likeliest_is_chosen_and_equals_with_it() -> None:
    assert by_logprob({0: -0.5, 1: -0.25, 2: -0.25}) == Group((1, 2), -0.25)


def test_a_choice_is_worth_the_share_of_the_chosen_that_pass() -> None:
    passed = {(f"P/{i}", s): s < i for i, s in itertools.product(range(4), range(4))}
    chosen = {f"P/{i}": Group((0, 3), 1.0) for i in range(4)}
    worth = selected(chosen, passed, seed=0)
    assert worth.plain == pytest.approx((0 + 1 + 2 + 3) / 16)
    assert worth.estimate == pytest.approx((0 + 0.5 + 0.5 + 0.5) / 4)
    assert worth.difference == pytest.approx(worth.estimate - worth.plain)
    assert worth.best == 0.75
    assert worth.difference_interval.low <= worth.difference <= worth.difference_interval.high
