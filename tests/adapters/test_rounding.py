import numpy as np
import pytest
import torch
from torch import Tensor
from updates import update

from flexlora.adapters.rounding import (
    ROUNDINGS,
    adapter_directions,
    input_directions,
    nearest,
    neighbours,
    round_to,
    shaped,
    stochastic,
)

HALVES = [torch.bfloat16, torch.float16]


def bfloat16_by_hand(values: Tensor) -> np.ndarray:
    """Round half to even on the upper 16 bits of a float32, in integers."""
    bits = values.numpy().astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def test_nearest_is_numpys_rounding() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double() * 10
    assert np.array_equal(nearest(values, torch.bfloat16).float().numpy(), bfloat16_by_hand(values))
    assert np.array_equal(nearest(values, torch.float16).numpy(), values.numpy().astype(np.float16))


def test_neighbours_of_float16_are_numpys() -> None:
    tiny = [0.0, 1e-9, -1e-9, 3e-8, -3e-8, 6e-5, 1.0, 1.0001, -1.0001, 65504.0, -2.0, 1023.7, -1e-7]
    values = torch.cat(
        [torch.tensor(tiny).double(), torch.randn(500, generator=torch.Generator().manual_seed(1)).double()]
    )
    near, other = (side.numpy() for side in neighbours(values, torch.float16))
    exact = values.numpy()
    half = exact.astype(np.float16)
    away = np.where(exact > half.astype(float), np.float16(np.inf), np.float16(-np.inf))
    expected = np.where(exact == half.astype(float), half, np.nextafter(half, away))
    assert np.array_equal(near, half.astype(float))
    assert np.array_equal(other, expected.astype(float))
    between = (np.minimum(near, other) <= exact) & (exact <= np.maximum(near, other))
    assert between.all()


@pytest.mark.parametrize("dtype", HALVES)
def test_stochastic_rounding_is_right_on_average_and_repeats_with_its_seed(dtype: torch.dtype) -> None:
    exact = torch.full((200_000,), 1 + 0.3 * torch.finfo(dtype).eps).double()
    rounded = stochastic(exact, dtype).double()
    assert set(rounded.unique().tolist()) == {1.0, 1 + torch.finfo(dtype).eps}
    # The standard error of the share of ups is 0.001.
    assert (rounded.mean() - 1).item() / torch.finfo(dtype).eps == pytest.approx(0.3, abs=0.006)
    assert torch.equal(stochastic(exact, dtype, 5), stochastic(exact, dtype, 5))
    assert not torch.equal(stochastic(exact, dtype, 5), stochastic(exact, dtype, 6))


def test_what_nearest_rounds_away_stochastic_keeps_on_average() -> None:
    base, _, delta = update(1e-5)

    def kept(rounded: Tensor) -> float:
        return float(((rounded.double() - base) * delta).sum() / delta.square().sum())

    assert kept(nearest(base + delta, torch.bfloat16)) < 0.2
    # Another seed than that of the weights, whose own draws would decide which of them go up.
    assert kept(stochastic(base + delta, torch.bfloat16, seed=9)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dtype", HALVES)
def test_shaped_errors_cancel_where_the_adapter_reads_and_are_larger_elsewhere(dtype: torch.dtype) -> None:
    base, a, delta = update(1e-4)
    exact = base + delta
    basis = torch.linalg.svd(a, full_matrices=False).Vh  # (r, n), another basis of the same space
    plain, ours = (
        rounded.double() - exact for rounded in (nearest(exact, dtype), shaped(exact, dtype, adapter_directions(a)))
    )
    assert (ours @ basis.T).norm() < 0.25 * (plain @ basis.T).norm()
    assert plain.norm() < ours.norm() < 2 * plain.norm()
    step = torch.maximum(*((side - exact).abs() for side in neighbours(exact, dtype)))
    assert (ours.abs() <= step).all()  # never further than the other neighbour


def test_shaped_with_endless_thrift_is_nearest_and_with_none_errs_most() -> None:
    base, a, delta = update(1e-4, m=16)
    exact = base + delta
    assert torch.equal(shaped(exact, torch.bfloat16, adapter_directions(a), thrift=1e9), nearest(exact, torch.bfloat16))
    errors = [
        (shaped(exact, torch.bfloat16, adapter_directions(a), thrift=t).double() - exact).norm()
        for t in (0.0, 1.0, 10.0)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_shaped_chooses_as_a_plain_loop_does() -> None:
    base, a, delta = update(1e-4, m=5, n=40, rank=3)
    exact = base + delta
    q = torch.linalg.qr(a.T).Q
    near, other = neighbours(exact, torch.bfloat16)
    expected = torch.empty_like(exact)
    for row in range(5):
        seen = torch.zeros(3).double()
        for i in range(40):
            costs = {
                value: float((seen + (value - exact[row, i]) * q[i]).square().sum())
                + 3 / 40 * (value - float(exact[row, i])) ** 2
                for value in (float(near[row, i]), float(other[row, i]))
            }
            expected[row, i] = min(costs, key=lambda value: costs[value])
            seen += (expected[row, i] - exact[row, i]) * q[i]
    assert torch.equal(shaped(exact, torch.bfloat16, adapter_directions(a)).double(), expected)


def test_shaped_never_chooses_infinity() -> None:
    exact = torch.full((4, 64), 65504.0 - 20).double()
    exact[:, ::2] = 65503.9
    assert shaped(exact, torch.float16, torch.ones(64, 1)).isfinite().all()


def test_without_input_directions_shaped_is_nearest_and_float32_needs_neither() -> None:
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(round_to(values, torch.bfloat16, "shaped", "w", None), values.bfloat16())
    for rounding in ROUNDINGS:
        assert torch.equal(round_to(values, torch.float32, rounding, "w", torch.ones(1, 4)), values.float())


def test_input_directions_are_the_inputs_own_second_moment() -> None:
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 1, 1, 0.1, 0.1])
    whole = input_directions(inputs)
    assert torch.allclose(whole @ whole.T, inputs.T @ inputs / 50, atol=1e-4)
    first = input_directions(inputs, count=1)
    assert torch.allclose(first.T @ first, torch.linalg.eigvalsh(inputs.T @ inputs / 50)[-1])


def test_calibrated_rounding_answers_other_inputs_of_the_same_kind_better_than_nearest() -> None:
    base, a, delta = update(1e-4)
    exact = base + delta
    generator = torch.Generator().manual_seed(2)
    # Inputs that lie mostly in 16 of 512 directions, as activations do.
    mixing = torch.randn(16, 512, generator=generator)
    seen, unseen = (
        torch.randn(200, 16, generator=generator) @ mixing + 0.5 * torch.randn(200, 512, generator=generator)
        for _ in range(2)
    )
    outputs = [
        ((round_to(exact, torch.bfloat16, rounding, "w", a, seen).double() - exact) @ unseen.double().T).norm()
        for rounding in ("nearest", "calibrated")
    ]
    assert outputs[1] < 0.5 * outputs[0]
    assert torch.equal(round_to(exact, torch.bfloat16, "calibrated", "w", a), exact.bfloat16())
