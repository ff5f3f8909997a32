"""Controls: what they penalise, counted direction by direction on explicit operators."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlora.fourier import Weighting, delta_penalty, multiplicity, vectors_penalty
from flexlora.fourier.controls import bin_weights, delta_weights, permutation

SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"tau": 0.0},
    {"tau": 1.0, "floor": 0.1},
    {"shape": "ramp", "tau": 0.3, "order": 2.0},
    {"shape": "sigmoid", "tau": 0.7, "floor": 0.2, "gain": 3.0},
)


def operator(g_K: torch.Tensor, n: int) -> torch.Tensor:
    """C_g as an explicit symmetric matrix, from DFT matrices."""
    k = torch.arange(n, dtype=torch.float64)
    dft = torch.exp(-2j * torch.pi * k[:, None] * k / n) / n**0.5
    full = g_K[torch.minimum(k, n - k).long()].to(dft.dtype)
    return (dft.conj().T @ torch.diag(full) @ dft).real


def delta_operator(form: Any, m: int, n: int) -> torch.Tensor:
    """The quadratic form of a delta penalty on vec(dW), as an explicit matrix."""
    low_m, low_n = operator(1 - form.h_m, m), operator(1 - form.h_n, n)
    product = torch.kron(low_m, low_n)
    identity = torch.eye(m * n, dtype=torch.float64)
    return form.floor * identity + (form.gain - form.floor) * (product if form.inside else identity - product)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 33), options=st.sampled_from(SHAPES))
def test_low_band_has_the_same_weights_at_the_other_end(n: int, options: dict[str, Any]) -> None:
    weights = Weighting(**options)
    g, low = (bin_weights(weights, n, control) for control in ("none", "low_band"))
    assert torch.trace(operator(low, n)).item() == pytest.approx(torch.trace(operator(g, n)).item(), abs=1e-9)
    assert (low.diff() <= 1e-12).all()  # falls where the weighting rises
    if n % 2 == 0:
        torch.testing.assert_close(low, g.flip(0))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 33), options=st.sampled_from(SHAPES))
def test_uniform_has_the_root_mean_square_of_the_weights(n: int, options: dict[str, Any]) -> None:
    weights = Weighting(**options)
    g, flat = (operator(bin_weights(weights, n, control), n) for control in ("none", "uniform"))
    torch.testing.assert_close(flat, flat[0, 0] * torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    assert flat.square().sum().item() == pytest.approx(g.square().sum().item(), abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(m=st.integers(1, 9), n=st.integers(1, 9), options=st.sampled_from(SHAPES))
def test_uniform_has_the_root_mean_square_of_the_weights_of_delta(m: int, n: int, options: dict[str, Any]) -> None:
    weights = Weighting(**options)
    g, flat = (delta_operator(delta_weights(weights, n, m, control), m, n) for control in ("none", "uniform"))
    assert flat.square().sum().item() == pytest.approx(g.square().sum().item(), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(flat, flat[0, 0] * torch.eye(m * n, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", [o for o in SHAPES if o.get("shape", "step") != "step"])
@pytest.mark.parametrize(("m", "n"), [(6, 9), (8, 8), (5, 12)])
def test_low_band_of_delta_weighs_the_inside_as_much_as_the_outside(m: int, n: int, options: dict[str, Any]) -> None:
    weights = Weighting(**options)
    g, low = (delta_operator(delta_weights(weights, n, m, control), m, n) for control in ("none", "low_band"))
    assert torch.trace(low).item() == pytest.approx(torch.trace(g).item(), rel=1e-9)
    ones = torch.ones(m * n, dtype=torch.float64)
    assert ones @ low @ ones > ones @ g @ ones  # the mean is what the low band holds


def test_low_band_of_delta_is_the_spec_s_rectangle() -> None:
    form = delta_weights(Weighting(tau=0.5), 4096, 1024, "low_band")
    inside_n, inside_m = ((1 - h).to(torch.bool) for h in (form.h_n, form.h_m))
    assert form.inside
    for inside, size in ((inside_n, 4096), (inside_m, 1024)):
        edge = inside.nonzero().max() * 2 / size
        assert edge.item() == pytest.approx(0.75**0.5, abs=2 / 1024)
    inside = ((multiplicity(4096) * inside_n).sum() / 4096) * ((multiplicity(1024) * inside_m).sum() / 1024)
    assert inside.item() == pytest.approx(0.75, abs=0.002)


@settings(deadline=None, max_examples=30)
@given(
    m=st.integers(1, 10),
    n=st.integers(1, 10),
    r=st.integers(1, 3),
    options=st.sampled_from(SHAPES),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("control", ["low_band", "uniform"])
def test_value_and_gradient_of_delta_under_a_control_equal_the_explicit_operator(
    control: Any, m: int, n: int, r: int, options: dict[str, Any], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(1, *s, dtype=torch.float64, generator=generator).requires_grad_() for s in ((r, n), (m, r)))
    form = delta_weights(Weighting(**options), n, m, control)
    vec = (1.7 * B[0] @ A[0]).reshape(-1)
    value = vec @ delta_operator(form, m, n) @ vec
    value.backward()
    s = torch.tensor([1.7], dtype=torch.float64)
    found = delta_penalty(A.detach(), B.detach(), s, form.h_n, form.h_m, form.floor, form.gain, form.inside)
    torch.testing.assert_close(found.value, value.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.grad_A, A.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.grad_B, B.grad, rtol=1e-9, atol=1e-9)


def test_a_permutation_belongs_to_its_name_and_penalises_as_many_directions() -> None:
    order = permutation("layers.0.lora_A.default", 30)
    assert torch.equal(order, permutation("layers.0.lora_A.default", 30))
    assert not torch.equal(order, permutation("layers.1.lora_A.default", 30))
    assert torch.equal(order.sort().values, torch.arange(30))
    natural = operator(Weighting().g(30), 30)
    permuted = natural[order.argsort()][:, order.argsort()]
    for eigenvalues in (torch.linalg.eigvalsh(natural), torch.linalg.eigvalsh(permuted)):
        assert (eigenvalues > 0.5).sum() == (multiplicity(30) * Weighting().g(30)).sum()
    w = torch.randn(1, 30, dtype=torch.float64)
    torch.testing.assert_close(vectors_penalty(w[:, order], Weighting().g(30))[0], w[0] @ permuted @ w[0])
