"""How a step is divided among processes, and what stands in for the examples that its last one lacks."""

import pytest
from accelerate.data_loader import SeedableRandomSampler

from flexlora.errors import UsageError
from flexlora.recipe import Train
from flexlora.training.sharing import FilledUp, share


@pytest.mark.parametrize(
    ("size", "accumulation", "processes", "expected"),
    [
        (4, 1, 1, (4, 1)),
        (4, 2, 2, (4, 1)),
        (4, 1, 2, (2, 1)),
        (4, 3, 2, (3, 2)),
        (6, 2, 8, None),
        (4, 4, 8, (2, 1)),
        (5, 2, 2, (5, 1)),
    ],
)
def test_the_examples_of_a_step_are_the_same(
    size: int, accumulation: int, processes: int, expected: tuple[int, int] | None
) -> None:
    train = Train(batch_size=size, gradient_accumulation_steps=accumulation)
    if expected is None:
        with pytest.raises(UsageError, match=r"the 12 examples of a step .* among 8 processes.* or take 16 examples"):
            share(train, processes)
        return
    assert share(train, processes) == expected
    assert expected[0] * expected[1] * processes == size * accumulation


def test_the_order_is_that_of_one_process_and_ends_with_the_empty_example() -> None:
    filled = FilledUp(10, 8)
    for epoch in (0, 1):
        filled.set_epoch(epoch)
        alone = SeedableRandomSampler(range(10), data_seed=None)
        alone.set_epoch(epoch)
        assert list(filled) == [*alone, *[10] * 6]
    assert len(filled) == 16
    assert len(FilledUp(16, 8)) == 16
