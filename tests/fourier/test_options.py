"""What `FourierPenalty` does with its options: against explicit formulas on the model's own factors."""

from typing import Any

import pytest
import torch

from flexlora.adapters import LoraPair, lora_pairs
from flexlora.fourier import FourierPenalty, groups
from flexlora.fourier.controls import permutation
from fourier.test_penalty import explicit, folded_power, lora_model

VIEWS = ("factors", "rows", "delta")


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def moved(model: torch.nn.Module) -> None:
    """Move every factor, as training would."""
    torch.manual_seed(7)
    for pair in lora_pairs(model):
        for factor in (pair.A, pair.B):
            factor.data += torch.randn_like(factor)


def assert_gradients(model: torch.nn.Module, expected: dict[str, torch.Tensor], **tolerance: float) -> None:
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **({"rtol": 1e-4, "atol": 1e-4} | tolerance))


# Chunks


@pytest.mark.parametrize("view", VIEWS)
def test_a_group_in_many_chunks_gives_the_same_as_in_one(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lora_model()
    whole = FourierPenalty(model, lam=0.3, view=view)
    value, measure = whole.add_gradient(), whole.measure()
    expected = gradients(model)
    model.zero_grad()
    monkeypatch.setitem(groups.CHUNK_BYTES, "cpu", 4 * 3 * 24)  # one factor, or less than one pair
    parts = FourierPenalty(model, lam=0.3, view=view)
    torch.testing.assert_close(parts.add_gradient(), value)
    torch.testing.assert_close(torch.stack(parts.measure()), torch.stack(measure))
    assert_gradients(model, expected, rtol=1e-5, atol=1e-6)


# Reference


@pytest.mark.parametrize("view", VIEWS)
def test_reference_init_penalises_the_departure_from_the_first_values(view: Any) -> None:
    model = lora_model()
    penalty = FourierPenalty(model, lam=0.3, view=view, reference="init")
    whole = FourierPenalty(model, lam=0.0, view=view).measure().value
    assert penalty.add_gradient().abs() < 1e-6 * whole
    assert all(gradient.abs().max() < 1e-4 for gradient in gradients(model).values())
    model.zero_grad()
    start = [(pair.A.detach().clone(), pair.B.detach().clone()) for pair in lora_pairs(model)]
    moved(model)
    total = torch.zeros(())
    for pair, (A_0, B_0) in zip(lora_pairs(model), start, strict=True):
        if view == "delta":
            # All but the product of the low halves of both axes: low along n, then low along m.
            departure = pair.scaling * (pair.B @ pair.A - B_0 @ A_0)
            low = departure
            for axis in (0, 1):
                n = low.shape[axis]
                k = torch.arange(n, dtype=torch.float64)
                keep = (torch.minimum(k, n - k) * 2 / n <= 0.5).float()
                spectrum = torch.fft.fft(low, dim=axis).movedim(axis, -1) * keep
                low = torch.fft.ifft(spectrum.movedim(-1, axis), dim=axis).real
            total = total + (departure * (departure - low)).sum()
        else:
            for factor, first, axis in ((pair.A, A_0, 1), (pair.B, B_0, 0)):
                departure = factor - first
                total = total + (
                    folded_power(departure, 0.5, axis) if view == "rows" else folded_power(departure.reshape(-1), 0.5)
                )
    (0.3 * total).backward()
    expected = gradients(model)
    model.zero_grad()
    torch.testing.assert_close(penalty.add_gradient(), total.detach(), rtol=1e-4, atol=1e-4)
    assert_gradients(model, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_delta_near_its_reference_keeps_its_digits(size: float) -> None:
    """Against float64; the norms of dW and dW_0 themselves would cancel."""
    model = lora_model()
    penalty = FourierPenalty(model, lam=1.0, view="delta", reference="init")
    start = [(pair.A.detach().double(), pair.B.detach().double()) for pair in lora_pairs(model)]
    torch.manual_seed(5)
    for pair in lora_pairs(model):
        for factor in (pair.A, pair.B):
            factor.data += size * torch.randn_like(factor)
    found = penalty.add_gradient()
    expected, total = [], torch.zeros((), dtype=torch.float64)
    for pair, (A_0, B_0) in zip(lora_pairs(model), start, strict=True):
        A, B = pair.A.detach().double().requires_grad_(), pair.B.detach().double().requires_grad_()
        power = torch.fft.fft2(pair.scaling * (B @ A - B_0 @ A_0), norm="ortho").abs().square()
        low = [
            (torch.minimum(k, n - k) * 2 / n <= 0.5).double()
            for n in power.shape
            for k in (torch.arange(n, dtype=torch.float64),)
        ]
        total = total + ((1 - low[0][:, None] * low[1]) * power).sum()
        expected.append((A, B))
    total.backward()
    torch.testing.assert_close(found.double(), total.detach(), rtol=1e-4, atol=0)
    for pair, (A, B) in zip(lora_pairs(model), expected, strict=True):
        for factor, wanted in ((pair.A, A), (pair.B, B)):
            torch.testing.assert_close(factor.grad.double(), wanted.grad, rtol=1e-3, atol=1e-4 * size)


def test_references_survive_in_the_state() -> None:
    model = lora_model()
    penalty = FourierPenalty(model, lam=0.3, reference="init", schedule="linear", warmup_steps=3)
    moved(model)
    penalty.add_gradient()
    expected = penalty.measure()
    again = FourierPenalty(model, lam=0.3, reference="init", schedule="linear", warmup_steps=3)
    assert again.measure().energy == 0
    again.load_state_dict(penalty.state_dict(), model)
    torch.testing.assert_close(torch.stack(again.measure()), torch.stack(expected))
    assert again.lam == penalty.lam == pytest.approx(0.1)
    other = FourierPenalty(model, lam=0.3)
    with pytest.raises(ValueError, match="reference 'init', and this one has 'zero'"):
        other.load_state_dict(penalty.state_dict(), model)
    assert other.schedule.step == 0


def test_factors_that_were_replaced_or_deactivated_are_not_penalised_in_silence() -> None:
    model = lora_model()
    penalty = FourierPenalty(model, lam=0.3)
    pair = next(iter(lora_pairs(model)))
    pair.layer.lora_A["default"].weight = torch.nn.Parameter(pair.A.detach().clone())
    with pytest.raises(RuntimeError, match=r"no longer those.*bind\(model\)"):
        penalty.add_gradient()
    penalty.bind(model)
    penalty.add_gradient()
    assert next(iter(lora_pairs(model))).A.grad is not None
    model.add_adapter("other", model.peft_config["default"])
    model.set_adapter("other")
    with pytest.raises(RuntimeError, match="deactivated"):
        penalty.add_gradient()


def test_the_controller_waits_while_there_is_nothing_to_know() -> None:
    model = lora_model()
    for pair in lora_pairs(model):
        torch.nn.init.zeros_(pair.B)
    penalty = FourierPenalty(model, lam=0.3, view="delta", schedule="target", target=0.2)
    penalty.add_gradient()
    assert penalty.lam == 0.3
    next(iter(lora_pairs(model))).B.data.fill_(torch.nan)
    penalty.add_gradient()
    assert penalty.lam == 0.3


# Coupling


@pytest.mark.parametrize("view", VIEWS)
def test_decoupled_shrinks_the_factors_themselves(view: Any) -> None:
    model = lora_model()
    loss = FourierPenalty(model, lam=0.01, view=view)
    loss.add_gradient()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = gradients(model)
    model.zero_grad()
    FourierPenalty(model, lam=0.01, view=view, coupling="decoupled").decay(ratio=0.25)
    assert not gradients(model)
    for name, parameter in model.named_parameters():
        step = 0.25 * expected[name] if name in expected else torch.zeros(())
        torch.testing.assert_close(parameter.detach(), before[name] - step)


def test_a_coupling_refuses_the_call_of_the_other() -> None:
    model = lora_model()
    with pytest.raises(RuntimeError, match="decay"):
        FourierPenalty(model, lam=0.1, coupling="decoupled").add_gradient()
    with pytest.raises(RuntimeError, match="add_gradient"):
        FourierPenalty(model, lam=0.1).decay()


@pytest.mark.parametrize("view", ["factors", "rows"])
def test_run_to_convergence_without_a_task_it_removes_exactly_the_penalised_band(view: Any) -> None:
    model = lora_model()
    low = {pair.module: _low(pair, view) for pair in lora_pairs(model)}
    penalty = FourierPenalty(model, lam=0.25, view=view, coupling="decoupled")
    for _ in range(60):
        penalty.decay()
    assert penalty.measure().high_frequency_share < 1e-6
    for pair in lora_pairs(model):
        for kept, now in zip(low[pair.module], _low(pair, view), strict=True):
            torch.testing.assert_close(now, kept, rtol=1e-4, atol=1e-5)


def test_run_to_convergence_delta_removes_the_band_of_the_update_and_keeps_some_of_the_rest() -> None:
    """Its band is the product's, so a factor's low part that meets the other's high part shrinks too."""
    model = lora_model()
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.A)
    before = FourierPenalty(model, lam=0.0, view="delta").measure()
    penalty = FourierPenalty(model, lam=2e-3, view="delta", coupling="decoupled")
    for _ in range(300):
        penalty.decay()
    after = penalty.measure()
    assert before.high_frequency_share > 0.6
    assert after.high_frequency_share < 1e-4
    assert 0.1 * (before.energy - before.high) < after.energy < before.energy - before.high


def _low(pair: LoraPair, view: str) -> list[torch.Tensor]:
    """The low half of the spectrum of both factors."""
    vectors = [pair.A, pair.B.T] if view == "rows" else [pair.A.reshape(-1), pair.B.reshape(-1)]
    return [torch.fft.rfft(v.detach())[..., : v.shape[-1] // 4 + 1].clone() for v in vectors]


# Schedules


def test_the_gradient_follows_the_schedule() -> None:
    model = lora_model()
    pair = next(iter(lora_pairs(model)))
    penalty = FourierPenalty(model, lam=1.0, schedule="linear", warmup_steps=2)
    norms = []
    for _ in range(4):
        model.zero_grad()
        penalty.add_gradient()
        norms.append(0.0 if pair.A.grad is None else pair.A.grad.norm().item())
    assert norms[0] == 0
    assert norms[1] == pytest.approx(norms[2] / 2)
    assert norms[2] == norms[3] > 0


@pytest.mark.parametrize("start", [1e-3, 3.0])
def test_the_controller_holds_the_share(start: float) -> None:
    """The task pulls every factor back to noise, half of whose energy is high; the controller must find a balance."""
    model = lora_model()
    goal = [(pair.A.detach().clone(), pair.B.detach().clone()) for pair in lora_pairs(model)]
    penalty = FourierPenalty(model, lam=start, schedule="target", target=0.2)
    for _ in range(400):
        for pair, (A, B) in zip(lora_pairs(model), goal, strict=True):
            pair.A.grad, pair.B.grad = pair.A.detach() - A, pair.B.detach() - B
        penalty.add_gradient()
        for pair in lora_pairs(model):
            for factor in (pair.A, pair.B):
                factor.data -= factor.grad * (0.5 / (1 + 2 * penalty.lam))
    assert penalty.measure().high_frequency_share.item() == pytest.approx(0.2, abs=0.02)


# Scope and modules


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scope", ["A", "B"])
def test_scope_gives_the_gradient_to_one_factor_only(view: Any, scope: Any) -> None:
    model = lora_model()
    FourierPenalty(model, lam=0.3, view=view).add_gradient()
    expected = {name: gradient for name, gradient in gradients(model).items() if f".lora_{scope}." in name}
    model.zero_grad()
    FourierPenalty(model, lam=0.3, view=view, scope=scope).add_gradient()
    assert expected
    assert_gradients(model, expected)


@pytest.mark.parametrize("view", VIEWS)
def test_modules_choose_what_is_penalised(view: Any) -> None:
    model = lora_model()
    FourierPenalty(model, lam=0.3, view=view, modules=["up_proj"]).add_gradient()
    found = gradients(model)
    assert found
    assert all(".up_proj." in name for name in found)
    with pytest.raises(ValueError, match=r"'down_proj' matches no LoRA layer; there is q_proj, up_proj"):
        FourierPenalty(model, lam=0.3, modules=["up_proj", "down_proj"])


# Controls


@pytest.mark.parametrize("view", VIEWS)
def test_the_permuted_control_is_the_penalty_of_the_reordered_factors(view: Any) -> None:
    model = lora_model()
    penalty = FourierPenalty(model, lam=0.3, view=view, control="permuted")
    natural = FourierPenalty(model, lam=0.0, view=view).measure()
    value = penalty.add_gradient()
    measure = penalty.measure()
    torch.testing.assert_close(measure.value, value)
    torch.testing.assert_close(measure.high, natural.high)  # what is measured does not depend on the control
    assert (value - natural.value).abs() > 1e-3 * value
    expected = gradients(model)
    # Reorder the factors themselves, and penalise those without a control.
    orders = {}
    for pair in lora_pairs(model):
        for side, factor in (("A", pair.A), ("B", pair.B)):
            size = factor.numel() if view == "factors" else factor.shape[1 if side == "A" else 0]
            order = orders[pair.module, side] = permutation(f"{pair.module}.lora_{side}.default", size)
            factor.data = _reorder(factor.data, order, side, view)
    model.zero_grad()
    torch.testing.assert_close(FourierPenalty(model, lam=0.3, view=view).add_gradient(), value)
    torch.testing.assert_close(explicit(model, view, 0.5).detach(), value)
    for pair in lora_pairs(model):
        for side, factor in (("A", pair.A), ("B", pair.B)):
            factor.grad = _reorder(factor.grad, orders[pair.module, side].argsort(), side, view)
    assert_gradients(model, expected)


def _reorder(factor: torch.Tensor, order: torch.Tensor, side: str, view: str) -> torch.Tensor:
    if view == "factors":
        return factor.reshape(-1)[order].reshape(factor.shape)
    return factor[:, order] if side == "A" else factor[order]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("control", ["low_band", "uniform"])
def test_controls_change_the_penalty_and_not_what_is_measured(view: Any, control: Any) -> None:
    model = lora_model()
    plain, other = (FourierPenalty(model, lam=0.3, view=view, control=c).measure() for c in ("none", control))
    torch.testing.assert_close(other.high, plain.high)
    torch.testing.assert_close(other.energy, plain.energy)
    if control == "low_band" and view != "delta":  # all of it is low or high, but for bins that are shared
        torch.testing.assert_close(other.value, plain.energy - plain.high, rtol=0.3, atol=0)
    if control == "uniform":
        torch.testing.assert_close(
            other.value / other.energy, torch.tensor(0.5 if view != "delta" else 0.75).sqrt(), rtol=0.1, atol=0
        )


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"control": "low_band", "weighting": "uniform"}, "knows no frequency"),
        ({"control": "permuted", "schedule": "target", "target": 0.3}, "does not act on"),
        ({"control": "mirrored"}, "mirrored"),
        ({"coupling": "none"}, "none"),
        ({"reference": "mean"}, "mean"),
        ({"scope": "C"}, "C"),
        ({"schedule": "step"}, "step"),
        ({"order": 3.0}, "order 3.0 is for weighting 'ramp'"),
        ({"rate": 0.5}, "rate 0.5 is for the schedule 'target'"),
        ({"total_steps": 5}, "total_steps 5 is for the schedule 'cosine'"),
        ({"gain": float("inf")}, "inf"),
        ({"modules": []}, "modules is empty"),
        ({"modules": "nowhere"}, "'nowhere' matches no LoRA layer"),
        ({"coupling": "decoupled", "gain": 20.0}, "lam must be less than 0.05"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        FourierPenalty(lora_model(), lam=0.1, **options)


# The first step


def test_decoupled_refuses_factors_that_could_not_hold_its_steps() -> None:
    with pytest.raises(ValueError, match=r"less than torch\.bfloat16 can hold"):
        FourierPenalty(lora_model(torch.bfloat16), lam=0.1, coupling="decoupled")


def test_a_frozen_adapter_is_named_as_such() -> None:
    model = lora_model()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="has 4 pairs of LoRA factors and none is trainable"):
        FourierPenalty(model, lam=0.1)


def test_the_first_steps_of_a_hardly_depend_on_lambda() -> None:
    """At B = 0 the task's gradient on A is zero, so the penalty alone moves A, and AdamW normalises it away."""

    def first_step(lam: float, view: Any = "factors") -> tuple[torch.Tensor, torch.Tensor]:
        model = lora_model()
        for pair in lora_pairs(model):
            torch.nn.init.zeros_(pair.B)
        ids = torch.arange(20)[None]
        model(input_ids=ids, labels=ids).loss.backward()
        task = torch.cat([pair.A.grad.reshape(-1).clone() for pair in lora_pairs(model)])
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
        before = [pair.A.detach().clone() for pair in lora_pairs(model)]
        FourierPenalty(model, lam=lam, view=view).add_gradient()
        optimizer.step()
        steps = [(pair.A.detach() - a).reshape(-1) for pair, a in zip(lora_pairs(model), before, strict=True)]
        return task, torch.cat(steps)

    (task, weak), (_, strong) = first_step(1e-3), first_step(1.0)
    assert task.abs().max() == 0
    assert torch.cosine_similarity(weak, strong, dim=0) > 0.99
    assert weak.abs().max() > 5e-4  # a whole step of the optimizer
    assert first_step(1.0, "delta")[1].abs().max() == 0


# Invariances


@pytest.mark.parametrize(
    ("view", "kept"),
    [("factors", ()), ("rows", ("permutation", "rotation")), ("delta", ("permutation", "rotation", "invertible"))],
)
def test_what_a_change_of_the_rank_basis_leaves_unchanged(view: Any, kept: tuple[str, ...]) -> None:
    torch.manual_seed(3)
    r = 3
    changes = {
        "permutation": torch.eye(r)[[2, 0, 1]],
        "rotation": torch.linalg.qr(torch.randn(r, r))[0],
        "invertible": torch.randn(r, r) + 2 * torch.eye(r),
    }
    for change, q in changes.items():
        model = lora_model()
        before = FourierPenalty(model, lam=0.0, view=view).measure().value
        for pair in lora_pairs(model):
            pair.A.data, pair.B.data = torch.linalg.inv(q) @ pair.A.data, pair.B.data @ q
        after = FourierPenalty(model, lam=0.0, view=view).measure().value
        assert (abs(after - before) < 1e-4 * before).item() == (change in kept), change
