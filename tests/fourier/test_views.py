"""The closed forms against independent references: explicit DFT sums, fft2 of the explicit product, autograd."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlora.fourier import Weighting, delta_penalty, multiplicity, vectors_penalty

WEIGHTINGS = (
    {},
    {"shape": "ramp", "tau": 0.3, "order": 2.0},
    {"shape": "sigmoid", "tau": 0.6, "width": 0.1},
    {"shape": "uniform"},
    {"tau": 0.4, "floor": 0.2, "gain": 1.5},
    {"tau": 0.0},
    {"tau": 1.0, "floor": 0.1},
)
"""Also both ends of tau."""


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Vectors


def explicit_penalty(w: list[float], tau: float) -> float:
    """R by its definition: the full DFT of length N, every bin folded to its frequency in [0, 1]."""
    n = len(w)
    total = 0.0
    for k in range(n):
        real = sum(x * math.cos(2 * math.pi * k * i / n) for i, x in enumerate(w)) / math.sqrt(n)
        imaginary = sum(x * math.sin(2 * math.pi * k * i / n) for i, x in enumerate(w)) / math.sqrt(n)
        # k > tau * N / 2 in integers as far as possible, so that this reference has no rounding of its own.
        if min(k, n - k) * 2 / n > tau:
            total += real**2 + imaginary**2
    return total


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 30, 31])
@pytest.mark.parametrize("tau", [0.0, 0.3, 0.5, 1.0])
def test_penalty_equals_the_explicit_sum(n: int, tau: float) -> None:
    w = normal(n, seed=n)
    value, _ = vectors_penalty(w[None], Weighting(tau=tau).g(n))
    assert value.item() == pytest.approx(explicit_penalty(w.tolist(), tau), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 64),
    rows=st.integers(1, 4),
    options=st.sampled_from(WEIGHTINGS),
    seed=st.integers(0, 999),
)
def test_gradient_equals_autograd_of_the_formula(n: int, rows: int, options: dict[str, Any], seed: int) -> None:
    w = normal(rows, n, seed=seed).requires_grad_()
    g = Weighting(**options).g(n)
    (multiplicity(n) * g * torch.fft.rfft(w, norm="ortho").abs().square()).sum().backward()
    value, gradient = vectors_penalty(w.detach(), g)
    torch.testing.assert_close(gradient, w.grad, rtol=1e-10, atol=1e-12)
    # R is quadratic, so that <w, dR/dw> = 2 R.
    torch.testing.assert_close((w.detach() * gradient).sum(), 2 * value)


def test_descending_the_penalty_removes_exactly_the_penalised_band() -> None:
    w = normal(1, 32)
    before = torch.fft.rfft(w)
    for _ in range(200):
        w = w - 0.1 * vectors_penalty(w, Weighting().g(32))[1]
    after = torch.fft.rfft(w)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert after[:, 9:].abs().max() < 1e-12


def dft_operator(g_K: torch.Tensor, n: int) -> torch.Tensor:
    """C_g as an explicit symmetric matrix, from the DFT matrix."""
    k = torch.arange(n, dtype=torch.float64)
    dft = torch.exp(-2j * torch.pi * k[:, None] * k / n) / n**0.5
    return (dft.conj().T @ torch.diag(folded(g_K, n).to(dft.dtype)) @ dft).real


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 40), options=st.sampled_from(WEIGHTINGS), seed=st.integers(0, 999))
def test_value_and_gradient_equal_the_explicit_operator(n: int, options: dict[str, Any], seed: int) -> None:
    w, g = normal(n, seed=seed), Weighting(**options).g(n)
    operator = dft_operator(g, n)
    value, gradient = vectors_penalty(w[None], g)
    torch.testing.assert_close(value, w @ operator @ w, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient[0], 2 * operator @ w, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 31, 32])
def test_with_all_weights_one_the_penalty_is_the_squared_norm(n: int) -> None:
    """Parseval, for odd and even lengths."""
    w = normal(3, n)
    torch.testing.assert_close(vectors_penalty(w, torch.ones(n // 2 + 1).double())[0], w.square().sum())


# The merged update


def folded(h_K: torch.Tensor, n: int) -> torch.Tensor:
    """h over all n bins of the full DFT."""
    k = torch.arange(n)
    return h_K[torch.minimum(k, n - k)]


def explicit_delta(
    A: torch.Tensor, B: torch.Tensor, s: torch.Tensor, weighting: Weighting
) -> tuple[torch.Tensor, torch.Tensor]:
    """The penalty and the energy from the 2-D DFT of the product itself, differentiable."""
    total, energy = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    m, n = B.shape[1], A.shape[2]
    low_m, low_n = (1 - folded(weighting.h(size), size) for size in (m, n))
    h_MN = 1 - low_m[:, None] * low_n[None, :]
    for a, b, scaling in zip(A, B, s, strict=True):
        power = torch.fft.fft2(scaling * b @ a, norm="ortho").abs().square()
        total = total + ((weighting.floor + (weighting.gain - weighting.floor) * h_MN) * power).sum()
        energy = energy + power.sum()
    return total, energy


def closed_form(A: torch.Tensor, B: torch.Tensor, s: torch.Tensor, weighting: Weighting) -> Any:
    h_n, h_m = weighting.h(A.shape[2]), weighting.h(B.shape[1])
    dtype = A.dtype
    return delta_penalty(A, B, s, h_n.to(dtype), h_m.to(dtype), weighting.floor, weighting.gain)


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 20),
    n=st.integers(1, 20),
    r=st.integers(1, 5),
    updates=st.integers(1, 3),
    options=st.sampled_from(WEIGHTINGS),
    seed=st.integers(0, 999),
)
def test_delta_equals_fft2_of_the_product_and_its_autograd(
    m: int, n: int, r: int, updates: int, options: dict[str, Any], seed: int
) -> None:
    weighting = Weighting(**options)
    A, B = normal(updates, r, n, seed=seed).requires_grad_(), normal(updates, m, r, seed=seed + 1).requires_grad_()
    s = normal(updates, seed=seed + 2)
    value, energy = explicit_delta(A, B, s, weighting)
    value.backward()
    found = closed_form(A.detach(), B.detach(), s, weighting)
    torch.testing.assert_close(found.value, value.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.energy, energy.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.grad_A, A.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.grad_B, B.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", WEIGHTINGS)
def test_gradients_are_the_slope_along_any_direction(options: dict[str, Any]) -> None:
    """Central differences; R of vectors is quadratic and that of delta quartic, so that they are all but exact."""
    weighting, h = Weighting(**options), 1e-4
    w, toward = normal(2, 15), normal(2, 15, seed=1)
    values = [vectors_penalty(w + sign * h * toward, weighting.g(15))[0] for sign in (1, -1)]
    slope = (vectors_penalty(w, weighting.g(15))[1] * toward).sum()
    torch.testing.assert_close((values[0] - values[1]) / (2 * h), slope, rtol=1e-7, atol=1e-8)
    A, B, s = normal(1, 3, 15), normal(1, 10, 3, seed=2), torch.tensor([1.5], dtype=torch.float64)
    to_A, to_B = normal(1, 3, 15, seed=3), normal(1, 10, 3, seed=4)
    values = [closed_form(A + sign * h * to_A, B + sign * h * to_B, s, weighting).value for sign in (1, -1)]
    found = closed_form(A, B, s, weighting)
    slope = (found.grad_A * to_A).sum() + (found.grad_B * to_B).sum()
    torch.testing.assert_close((values[0] - values[1]) / (2 * h), slope, rtol=1e-6, atol=1e-6)


def test_delta_is_unchanged_by_any_invertible_change_of_the_rank_basis() -> None:
    A, B, s = normal(2, 4, 30), normal(2, 24, 4, seed=1), torch.tensor([2.0, 0.5], dtype=torch.float64)
    q = normal(4, 4, seed=2)
    before = closed_form(A, B, s, Weighting())
    after = closed_form(torch.linalg.inv(q) @ A, B @ q, s, Weighting())
    torch.testing.assert_close(after.value, before.value, rtol=1e-9, atol=0)
    # Not so the gradients, which follow their factors: dR/dB = dR/dB' Q^T.
    torch.testing.assert_close(after.grad_B @ q.T, before.grad_B, rtol=1e-8, atol=1e-8)


def test_rows_are_unchanged_by_an_orthogonal_change_of_the_rank_basis_and_factors_are_not() -> None:
    A, g = normal(4, 30), Weighting().g(30)
    q = torch.linalg.qr(normal(4, 4, seed=3))[0]
    torch.testing.assert_close(vectors_penalty(q @ A, g)[0], vectors_penalty(A, g)[0])
    flat = Weighting().g(120)
    value, turned = (vectors_penalty(x.reshape(1, -1), flat)[0] for x in (A, q @ A))
    assert abs(turned - value) > 1e-3 * value


def test_delta_of_a_fresh_adapter_has_no_gradient() -> None:
    found = closed_form(
        normal(1, 4, 30), torch.zeros(1, 24, 4, dtype=torch.float64), torch.ones(1).double(), Weighting()
    )
    assert found.value == 0
    assert found.grad_A.abs().max() == found.grad_B.abs().max() == 0


def test_delta_keeps_its_digits_in_float32_where_almost_all_energy_is_low() -> None:
    t = torch.arange(256, dtype=torch.float64) / 256
    A, B = torch.sin(2 * math.pi * t)[None, None], torch.cos(2 * math.pi * t)[None, :, None]
    A, s = A + 1e-5 * normal(1, 1, 256), torch.ones(1, dtype=torch.float64)
    exact = explicit_delta(A, B, s, Weighting())[0]
    found = closed_form(A.float(), B.float(), s.float(), Weighting())
    assert found.value.item() == pytest.approx(exact.item(), rel=1e-2)
