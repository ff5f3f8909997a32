"""`FourierPenalty` on a real PEFT model: against autograd of the explicit formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from flexlora.adapters import lora_pairs
from flexlora.fourier import FourierPenalty


def lora_model(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    wrapped = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=3, target_modules=["q_proj", "up_proj"]))
    for pair in lora_pairs(wrapped):
        torch.nn.init.normal_(pair.B)
        pair.A.data, pair.B.data = pair.A.data.to(dtype), pair.B.data.to(dtype)
    return wrapped


def folded_power(x: torch.Tensor, tau: float, axis: int = -1) -> torch.Tensor:
    """Energy above tau along an axis, from the full DFT."""
    n = x.shape[axis]
    k = torch.arange(n, dtype=torch.float64)
    high = torch.minimum(k, n - k) * 2 / n > tau
    return torch.fft.fft(x, dim=axis, norm="ortho").abs().square().movedim(axis, -1)[..., high].sum()


def explicit(model: torch.nn.Module, view: str, tau: float, flatten: str = "row") -> torch.Tensor:
    """The penalty as a notebook would write it, differentiable."""
    total = torch.zeros(())
    for pair in lora_pairs(model):
        if view == "delta":
            delta = pair.scaling * pair.B @ pair.A
            low = [
                1 - (torch.minimum(k, size - k) * 2 / size > tau).float()
                for size in delta.shape
                for k in (torch.arange(size, dtype=torch.float64),)
            ]
            power = torch.fft.fft2(delta, norm="ortho").abs().square()
            total = total + ((1 - low[0][:, None] * low[1]) * power).sum()
        elif view == "rows":
            total = total + folded_power(pair.A, tau, 1) + folded_power(pair.B, tau, 0)
        else:
            for factor in (pair.A, pair.B):
                total = total + folded_power((factor.T if flatten == "column" else factor).reshape(-1), tau)
    return total


@pytest.mark.parametrize("tau", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(
    "options", [{"view": "factors"}, {"view": "factors", "flatten": "column"}, {"view": "rows"}, {"view": "delta"}]
)
def test_gradient_and_value_equal_autograd_of_the_explicit_formula(tau: float, options: dict[str, str]) -> None:
    model = lora_model()
    value = explicit(model, tau=tau, **options)
    (0.3 * value).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = FourierPenalty(model, lam=0.3, tau=tau, **options).add_gradient()
    torch.testing.assert_close(found, value.detach())
    assert expected
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name not in expected
        else:
            assert parameter.grad.is_contiguous()
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 20),
    n=st.integers(1, 20),
    r=st.integers(1, 4),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    view=st.sampled_from(["factors", "rows", "delta"]),
    tau=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_any_shape_and_dtype_gives_the_gradient_of_the_explicit_formula(
    m: int, n: int, r: int, dtype: torch.dtype, view: str, tau: float
) -> None:
    torch.manual_seed(m + 20 * n)
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(n, m)), LoraConfig(r=r, target_modules=["0"]))
    (pair,) = lora_pairs(model)
    for factor in (pair.A, pair.B):
        factor.data = torch.randn(factor.shape).to(dtype)
    value = FourierPenalty(model, lam=0.5, view=view, tau=tau).add_gradient()
    found = [factor.grad for factor in (pair.A, pair.B)]
    assert all(gradient.dtype == dtype for gradient in found)
    model.zero_grad()
    for factor in (pair.A, pair.B):
        factor.data = factor.data.double()
        factor.grad = None
    expected = explicit(model, view, tau)
    (0.5 * expected).backward()
    torch.testing.assert_close(value.double(), expected.detach().double(), rtol=1e-4, atol=1e-4)
    # Computed in float32, rounded to the parameter's dtype.
    precision = max(torch.finfo(dtype).eps, 1e-5)
    for gradient, factor in zip(found, (pair.A, pair.B), strict=True):
        scale = factor.grad.abs().max().item() + 1
        torch.testing.assert_close(gradient.double(), factor.grad, rtol=precision, atol=2 * precision * scale)


@pytest.mark.parametrize("view", ["factors", "rows", "delta"])
def test_a_frozen_factor_gets_no_gradient(view: str) -> None:
    model = lora_model()
    for pair in lora_pairs(model):
        pair.A.requires_grad_(False)
    FourierPenalty(model, lam=1.0, view=view).add_gradient()
    assert all(pair.A.grad is None and pair.B.grad is not None for pair in lora_pairs(model))


@pytest.mark.parametrize("view", ["factors", "rows", "delta"])
def test_the_share_is_that_above_tau_whatever_is_penalised(view: str) -> None:
    model = lora_model()
    step = FourierPenalty(model, lam=0.0, view=view).measure()
    other = FourierPenalty(model, lam=0.0, view=view, weighting="uniform", gain=2.0).measure()
    torch.testing.assert_close(step.high, step.value)
    torch.testing.assert_close(other.value, 2 * other.energy)
    torch.testing.assert_close(other.high_frequency_share, step.high_frequency_share)


def test_the_gradient_is_added_to_the_tasks_and_follows_the_scale() -> None:
    model = lora_model()
    penalty = FourierPenalty(model, lam=0.5)
    pair = next(iter(lora_pairs(model)))
    penalty.add_gradient()
    once = pair.B.grad.clone()
    pair.B.grad.fill_(1.0)
    penalty.add_gradient(scale=4.0)
    torch.testing.assert_close(pair.B.grad, 1.0 + 4 * once)


def test_lambda_zero_and_measuring_touch_no_gradient() -> None:
    model = lora_model()
    FourierPenalty(model, lam=0.0).add_gradient()
    measure = FourierPenalty(model, lam=1.0).measure()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert 0 < measure.high_frequency_share < 1


def test_the_share_is_one_half_for_noise_and_zero_for_nothing() -> None:
    model = lora_model()
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.A)
    assert FourierPenalty(model, lam=0.0).measure().high_frequency_share.item() == pytest.approx(0.5, abs=0.1)
    for pair in lora_pairs(model):
        torch.nn.init.zeros_(pair.A)
        torch.nn.init.zeros_(pair.B)
    assert FourierPenalty(model, lam=0.0).measure().high_frequency_share.item() == 0


def test_half_precision_factors_get_gradients_in_their_own_dtype() -> None:
    reference, model = lora_model(), lora_model(torch.bfloat16)
    FourierPenalty(reference, lam=1.0).add_gradient()
    FourierPenalty(model, lam=1.0).add_gradient()
    for expected, pair in zip(lora_pairs(reference), lora_pairs(model), strict=True):
        assert pair.B.grad.dtype == torch.bfloat16
        torch.testing.assert_close(pair.B.grad.float(), expected.B.grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"lam": -1}, "-1"),
        ({"lam": 1, "tau": 2}, "2"),
        ({"lam": 1, "view": "columns"}, "columns"),
        ({"lam": 1, "view": "delta", "flatten": "column"}, "flattens nothing"),
    ],
)
def test_bad_options_are_refused_with_the_value(options: dict[str, float], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        FourierPenalty(lora_model(), **options)


def test_a_model_without_an_adapter_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has no LoRA factors"):
        FourierPenalty(torch.nn.Linear(2, 2), lam=0.1)
