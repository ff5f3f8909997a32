"""`SophiaG` against the rule worked out value by value in float64."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from flexlora.optim import SophiaG
from flexlora.optim import batches as batching

SHAPES = [(3, 5), (7,), (2, 2, 2)]


def make_parameters(dtype: torch.dtype = torch.float64, seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give_gradients(parameters: list[torch.nn.Parameter], seed: int, size: float = 1.0) -> None:
    """Gradients of very different sizes, so that some values are clipped and others are not."""
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        values = torch.randn(p.shape, generator=generator) * 10 ** torch.randn(p.shape, generator=generator)
        p.grad = (size * values).to(p.dtype)


def train(optimizer: SophiaG, parameters: list[torch.nn.Parameter], steps: range) -> None:
    """An estimate of N = 12, 13, ... before every third step."""
    for step in steps:
        if step % 3 == 0:
            give_gradients(parameters, 100 + step, size=0.5)
            optimizer.update_hessian(12 + step)
        give_gradients(parameters, step)
        optimizer.step()


class ByValue:
    """The rule for a single number, in Python's floats."""

    def __init__(self, w: float, official: bool, corrected: bool, lr: float, betas: Any, rho: float, wd: float) -> None:
        self.w, self.m, self.h, self.n, self.bs = w, 0.0, 0.0, 0, 1
        self.official, self.corrected = official, corrected
        self.lr, self.betas, self.rho, self.wd = lr, betas, rho, wd

    def estimate(self, gradient: float, batch_size: int) -> None:
        self.n, self.bs = self.n + 1, batch_size
        times = 1 if self.official else batch_size
        self.h = self.betas[1] * self.h + (1 - self.betas[1]) * times * gradient**2

    def step(self, gradient: float) -> bool:
        """Whether it was clipped."""
        self.w -= self.lr * self.wd * self.w
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * gradient
        if self.official:
            size = abs(self.m) / (self.rho * self.bs * self.h + 1e-15)
            self.w -= self.lr * float(np.sign(self.m)) * min(size, 1.0)
            return size > 1
        h = self.h / (1 - self.betas[1] ** self.n) if self.corrected else self.h
        ratio = self.m / max(self.rho * h, 1e-12)
        self.w -= self.lr * max(-1.0, min(1.0, ratio))
        return abs(ratio) > 1


@pytest.mark.parametrize(
    ("options", "corrected"),
    [
        ({}, False),
        ({"weight_decay": 0.0, "rho": 0.3, "betas": (0.8, 0.9)}, False),
        ({"bias_correction": True, "rho": 0.3}, True),
        ({"reference": "official"}, False),
        ({"reference": "official", "rho": 0.5, "betas": (0.9, 0.5)}, False),
    ],
)
def test_the_rule_value_by_value(options: dict[str, Any], corrected: bool) -> None:
    parameters = make_parameters()
    optimizer = SophiaG(parameters, lr=0.01, **options)
    group = optimizer.param_groups[0]
    rule = (0.01, group["betas"], group["rho"], group["weight_decay"])
    values = [
        [ByValue(float(w), group["reference"] == "official", corrected, *rule) for w in p.detach().reshape(-1)]
        for p in parameters
    ]
    clipped: list[bool] = []
    for step in range(10):
        if step % 3 == 0:
            give_gradients(parameters, 100 + step, size=0.5)
            for p, numbers in zip(parameters, values, strict=True):
                for g, number in zip(p.grad.reshape(-1).tolist(), numbers, strict=True):
                    number.estimate(g, 12 + step)
        give_gradients(parameters, step)
        clipped = [
            number.step(g)
            for p, numbers in zip(parameters, values, strict=True)
            for g, number in zip(p.grad.reshape(-1).tolist(), numbers, strict=True)
        ]
    train(optimizer, parameters, range(10))
    for p, numbers in zip(parameters, values, strict=True):
        for name, found in (
            ("w", p.detach()),
            ("m", optimizer.state[p]["exp_avg"]),
            ("h", optimizer.state[p]["hessian"]),
        ):
            expected = torch.tensor([getattr(number, name) for number in numbers], dtype=torch.float64)
            torch.testing.assert_close(found.reshape(-1), expected, rtol=1e-12, atol=1e-14)
    assert 3 < sum(clipped) < len(clipped) - 3
    statistics = optimizer.statistics()
    assert statistics["clipped_fraction"] == sum(clipped) / len(clipped)
    times = 21 if group["reference"] == "official" else 1
    every_h = [times * number.h for numbers in values for number in numbers]
    assert statistics["h_mean"] == pytest.approx(np.mean(every_h))
    assert statistics["h_max"] == pytest.approx(max(every_h))
    assert statistics["h_zero_fraction"] == 0


def test_the_official_rule_in_float32_to_the_last_bit() -> None:
    """In the order of its operations: decay, average, |m| / (rho N h + 1e-15) up to 1, along the sign of m."""
    parameters = make_parameters(torch.float32)
    found = SophiaG(parameters, lr=0.01, rho=0.1, reference="official")
    weights = [p.detach().clone() for p in parameters]
    m, h = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    clipped = 0
    for step in range(10):
        if step % 3 == 2:
            give_gradients(parameters, 100 + step, size=0.5)
            found.update_hessian(12)
            for p, average in zip(parameters, h, strict=True):
                average.mul_(0.99).addcmul_(p.grad, p.grad, value=1 - 0.99)
        give_gradients(parameters, step)
        for p, w, average, curvature in zip(parameters, weights, m, h, strict=True):
            w.mul_(1 - 0.01 * 0.1)
            average.mul_(0.965).add_(p.grad, alpha=1 - 0.965)
            size = (average.abs() / (0.1 * 12 * curvature + 1e-15)).clamp(max=1)
            w.addcmul_(average.sign(), size, value=-0.01)
            clipped += int((size == 1).sum())
        found.step()
    for p, w in zip(parameters, weights, strict=True):
        assert torch.equal(p.detach(), w)
    assert 60 < clipped < 290  # of 300: all in the first two steps, and not all later


def test_no_value_moves_by_more_than_the_learning_rate() -> None:
    parameters = make_parameters()
    before = [p.detach().clone() for p in parameters]
    optimizer = SophiaG(parameters, lr=0.01, weight_decay=0.0)
    give_gradients(parameters, 1, size=1e-3)
    optimizer.update_hessian(1)
    give_gradients(parameters, 2, size=1e3)
    optimizer.step()
    moved = torch.cat([(p - old).abs().reshape(-1) for p, old in zip(parameters, before, strict=True)])
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01))
    assert optimizer.statistics()["clipped_fraction"] == 1


def test_weight_decay_is_decoupled_and_follows_the_learning_rate() -> None:
    p = torch.nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
    optimizer = SophiaG([p], lr=0.1, weight_decay=0.5)
    p.grad = torch.zeros_like(p)
    optimizer.update_hessian(4)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.2
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([2.0, -3.0], dtype=torch.float64) * 0.95 * 0.9)
    assert optimizer.statistics()["h_zero_fraction"] == 1


def test_without_gradient_and_curvature_nothing_moves() -> None:
    """LoRA's A before B has moved: both are exactly zero."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = SophiaG([p], lr=0.1, weight_decay=0.0)
    p.grad = torch.zeros(3)
    optimizer.update_hessian(4)
    optimizer.step()
    assert torch.equal(p.detach(), torch.ones(3))
    assert optimizer.statistics()["clipped_fraction"] == 0


def test_the_first_step_needs_an_estimate_and_the_official_one_does_not() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.tensor([1.0, -2.0, 3.0])
    with pytest.raises(RuntimeError, match="no estimate of the curvature yet"):
        SophiaG([p], lr=0.1).step()
    assert torch.equal(p.detach(), torch.ones(3))
    SophiaG([p], lr=0.1, weight_decay=0.0, reference="official").step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.9, 1.1, 0.9]))  # h is 0: a step by the sign
    optimizer = SophiaG([p], lr=0.1)
    optimizer.update_hessian(1)
    other = torch.nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [other]})
    optimizer.step()  # the new group has no gradient yet
    other.grad = torch.ones(2)
    before = p.detach().clone(), optimizer.state[p]["exp_avg"].clone()
    with pytest.raises(RuntimeError, match="no estimate"):
        optimizer.step()
    assert torch.equal(p.detach(), before[0])  # nor has the first group moved
    assert torch.equal(optimizer.state[p]["exp_avg"], before[1])


@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)])
def test_a_step_at_learning_rate_zero_moves_nothing_and_needs_no_estimate(lr: Any) -> None:
    """So torch's distributed checkpoints make the state that they load into."""
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.0]))
    before = p.detach().clone()
    optimizer = SophiaG([p], lr=lr, weight_decay=0.5)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(p.detach(), before)
    assert all(not optimizer.state[p][name].any() for name in ("exp_avg", "hessian"))
    assert optimizer.param_groups[0]["estimates"] == 0


def test_the_learning_rate_may_be_a_tensor() -> None:
    results = []
    for lr in (0.01, torch.tensor(0.01, dtype=torch.float64)):
        parameters = make_parameters(torch.float32)
        train(SophiaG(parameters, lr=lr), parameters, range(4))
        results.append(parameters)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_groups_have_their_own_options_and_parameters_without_gradient_are_left_alone() -> None:
    a, b, unused = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(3))
    optimizer = SophiaG([{"params": [a, unused]}, {"params": [b], "lr": 0.5, "weight_decay": 0.2, "rho": 1.0}], lr=0.1)
    a.grad, b.grad = torch.full_like(a, 2.0), torch.full_like(b, 2.0)
    optimizer.update_hessian(10)  # h = 0.01 * 10 * 4 = 0.4
    optimizer.step()  # m = 0.07
    torch.testing.assert_close(a.detach(), torch.full_like(a, 1 - 0.1 * 0.1 - 0.1))
    torch.testing.assert_close(b.detach(), torch.full_like(b, 1 - 0.5 * 0.2 - 0.5 * 0.07 / 0.4))
    assert torch.equal(unused.detach(), torch.ones_like(unused))
    assert unused not in optimizer.state
    assert optimizer.statistics()["clipped_fraction"] == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_state_in_float32_and_rounds_once(dtype: torch.dtype) -> None:
    low, full = make_parameters(dtype), make_parameters(dtype)
    full = [torch.nn.Parameter(p.detach().float()) for p in full]
    optimizers = [SophiaG(parameters, lr=0.01) for parameters in (low, full)]
    for seed, size in ((1, 0.5), (2, 1.0)):
        for parameters, optimizer in zip((low, full), optimizers, strict=True):
            give_gradients(low, seed, size)
            for p, q in zip(parameters, low, strict=True):
                p.grad = q.grad.to(p.dtype)
            if seed == 1:
                optimizer.update_hessian(12)
            else:
                optimizer.step()
    for p, q in zip(low, full, strict=True):
        assert torch.equal(p.detach(), q.detach().to(dtype))
        for name in ("exp_avg", "hessian"):
            assert optimizers[0].state[p][name].dtype == torch.float32
            assert torch.equal(optimizers[0].state[p][name], optimizers[1].state[q][name])
    # Loading must not round the state, which torch's own would do.
    again = SophiaG(make_parameters(dtype), lr=0.01)
    again.load_state_dict(optimizers[0].state_dict())
    for p, q in zip(low, again.param_groups[0]["params"], strict=True):
        assert torch.equal(optimizers[0].state[p]["hessian"], again.state[q]["hessian"])


@pytest.mark.parametrize("reference", ["paper", "official"])
def test_a_state_saved_and_loaded_continues_to_the_same_bits(reference: Any) -> None:
    undisturbed = make_parameters(torch.float32)
    whole = SophiaG(undisturbed, lr=0.01, reference=reference, rho=0.2)
    train(whole, undisturbed, range(5))
    file = io.BytesIO()
    torch.save({"optimizer": whole.state_dict(), "weights": undisturbed}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = make_parameters(torch.float32, seed=3)
    for p, value in zip(resumed, saved["weights"], strict=True):
        p.data.copy_(value)
    again = SophiaG(resumed, lr=0.5, reference=reference)  # options come with the state
    again.load_state_dict(saved["optimizer"])
    train(whole, undisturbed, range(5, 11))
    train(again, resumed, range(5, 11))
    for p, q in zip(undisturbed, resumed, strict=True):
        assert torch.equal(p, q)
        for name in ("exp_avg", "hessian"):
            assert torch.equal(whole.state[p][name], again.state[q][name])
    assert whole.statistics() == again.statistics()


def test_a_state_of_the_other_reference_is_refused() -> None:
    state = SophiaG(make_parameters(), lr=0.01, reference="official").state_dict()
    with pytest.raises(ValueError, match="different things"):
        SophiaG(make_parameters(), lr=0.01).load_state_dict(state)


def test_tensors_cut_into_pieces_and_others_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for cached in (1 << 17, 4):
        monkeypatch.setattr(batching, "CACHED", cached)
        parameters = make_parameters(torch.float32)
        parameters.append(torch.nn.Parameter(torch.arange(24.0).reshape(4, 6).t()))  # not contiguous
        train(SophiaG(parameters, lr=0.01), parameters, range(4))
        results.append(parameters)
    for p, q in zip(*results, strict=True):
        assert torch.equal(p, q)


def test_state_is_as_large_as_adamw_s() -> None:
    def size(optimizer: torch.optim.Optimizer) -> int:
        return sum(
            value.numel() for state in optimizer.state.values() for name, value in state.items() if name != "step"
        )

    mine, theirs = make_parameters(), make_parameters()
    sophia, adamw = SophiaG(mine, lr=0.01), torch.optim.AdamW(theirs)
    train(sophia, mine, range(1))
    give_gradients(theirs, 1)
    adamw.step()
    assert size(sophia) == size(adamw) == 2 * sum(p.numel() for p in mine)


def test_what_it_cannot_do_is_refused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    for options, part in (
        ({"lr": -1.0}, "lr -1.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"rho": 0.0}, "rho 0.0: it must be above 0"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"eps": 0.0}, "eps"),
        ({"reference": "other"}, "paper or official"),
        ({"reference": "official", "bias_correction": True}, "bias_correction"),
    ):
        with pytest.raises(ValueError, match=part):
            SophiaG([p], **{"lr": 0.1, **options})
    with pytest.raises(ValueError, match="complex64"):
        SophiaG([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))], lr=0.1)
    optimizer = SophiaG([p], lr=0.1)
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        optimizer.update_hessian(4)
    p.grad = torch.ones(3)
    with pytest.raises(ValueError, match="batch_size 0"):
        optimizer.update_hessian(0)
    assert optimizer.statistics() == {}
    table = torch.nn.Embedding(4, 2, sparse=True)
    sparse = SophiaG(table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()
    dense = torch.nn.Parameter(torch.ones(2))
    dense.grad = torch.ones(2)
    both = SophiaG([{"params": [dense]}, {"params": list(table.parameters())}], lr=0.1)
    for call in (lambda: sparse.update_hessian(1), sparse.step, lambda: both.update_hessian(1), both.step):
        with pytest.raises(RuntimeError, match="sparse"):
            call()
    assert not both.state  # nothing was done to the first group
    assert both.param_groups[0]["estimates"] == 0


def test_a_closure_is_called_with_gradients() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = SophiaG([p], lr=0.1, reference="official", weight_decay=0.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (3 * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 6
    torch.testing.assert_close(p.detach(), torch.full((2,), 0.9))
