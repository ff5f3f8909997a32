import json

import numpy as np
import pytest
import torch
from updates import update

from flexlora.adapters.audit import DisagreementSums, UpdateSums, low_rank_energy, measure_update, total


def test_the_figures_of_an_update_are_those_worked_out_by_hand() -> None:
    # Steps of bfloat16 above 1 are 1/128.
    before = torch.tensor([[1.0, 1.0, 1.0, 2.0]])
    exact = torch.tensor([[1.0, 1 + 1 / 128, 1 + 1 / 512, 2.5]]).double()
    found = measure_update(before, exact, exact.bfloat16(), None).result()
    lost, whole = (1 / 512) ** 2, (1 / 128) ** 2 + (1 / 512) ** 2 + 0.25
    assert found.relative_error == pytest.approx((lost / whole) ** 0.5)
    assert found.kept == pytest.approx(1 - lost / whole)
    assert found.unchanged == pytest.approx(1 / 3)
    assert found.update_rms == pytest.approx((whole / 4) ** 0.5)
    assert (found.weights, found.overflow, found.read_error) == (4, 0, None)


def test_the_base_is_taken_as_it_is_in_the_dtype_itself() -> None:
    # A base between two bfloat16 values, moved by less than decides between them: nothing is left of the update.
    before = torch.tensor([1 + 1 / 512])
    found = measure_update(before, (before + 1 / 1024).double(), torch.tensor([1.0]).bfloat16(), None).result()
    assert (found.relative_error, found.kept, found.unchanged) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("spread", "lost"), [(1e-3, 0.08), (1e-4, 0.62)])
def test_bfloat16_loses_what_was_seen_before(spread: float, lost: float) -> None:
    base, _, delta = update(spread)
    # The update of that observation was Gaussian, not of low rank, which has more small values.
    delta = spread * torch.randn(delta.shape, generator=torch.Generator().manual_seed(3)).double()
    found = measure_update(base, base + delta, (base + delta).bfloat16(), None).result()
    assert found.relative_error == pytest.approx(lost, abs=0.01)


def test_the_error_that_the_adapter_sees_is_the_one_for_its_inputs() -> None:
    base, a, delta = update(1e-4)
    rounded = (base + delta).bfloat16()
    inputs = torch.linalg.svd(a, full_matrices=False).Vh.T  # (n, r)
    expected = ((rounded.double() - base - delta) @ inputs).norm() / (delta @ inputs).norm()
    assert measure_update(base, base + delta, rounded, a).result().read_error == pytest.approx(float(expected))


def test_sums_add_up_over_modules() -> None:
    base, a, delta = update(1e-4)
    rounded = (base + delta).bfloat16()
    halves = [measure_update(base[i], base[i] + delta[i], rounded[i], a) for i in (slice(0, 100), slice(100, 256))]
    whole = measure_update(base, base + delta, rounded, a).result()
    added = total(halves).result()
    assert (added.unchanged, added.weights) == (whole.unchanged, whole.weights)
    for name in ("relative_error", "kept", "read_error", "update_rms"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name))


def test_weights_that_overflow_are_counted_and_a_zero_update_loses_nothing() -> None:
    exact = torch.tensor([1e5, 1.0]).double()
    assert measure_update(torch.ones(2), exact, exact.half(), None).result().overflow == 1
    still = measure_update(torch.ones(2), torch.ones(2).double(), torch.ones(2).half(), None).result()
    assert (still.relative_error, still.kept, still.unchanged) == (0, 1, 0)
    json.dumps(UpdateSums().result().kept, allow_nan=False)


def test_a_low_rank_correction_mends_a_lost_update_but_not_noise() -> None:
    base, _, delta = update(1e-6)

    def share(spread: float) -> float:
        exact = base + delta * spread / 1e-6
        whole, held = low_rank_energy(exact - exact.bfloat16().double(), rank=8)
        values = torch.linalg.svdvals(exact - exact.bfloat16().double()).square()
        assert whole == pytest.approx(float(values.sum()))
        assert held == pytest.approx(float(values[:8].sum()), rel=0.15)
        assert held <= float(values[:8].sum()) * (1 + 1e-6)
        return held / whole

    assert share(1e-6) > 0.9  # everything was rounded away, so that the residual is the update
    assert share(1e-3) < 0.1


def test_disagreement_is_that_of_the_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, other = (torch.randn(6, 11, generator=generator) for _ in range(2))
    sums = DisagreementSums()
    sums.add(reference, other, prompt_tokens=4)
    found = sums.result()
    p, q = (np.exp(x.numpy().astype(float)) for x in (reference, other))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum() / 6))
    assert found.logit_rms == pytest.approx(float((other - reference).square().mean().sqrt()))
    assert found.logit_max == pytest.approx(float((other - reference).abs().max()))
    assert found.next_token == pytest.approx(float((p.argmax(1) != q.argmax(1)).mean()))
    assert found.positions == 6


@pytest.mark.parametrize(("position", "answers"), [(2, 0.0), (3, 1.0), (4, 1.0), (5, 0.0)])
def test_an_answer_changes_only_with_a_token_of_it(position: int, answers: float) -> None:
    # Six tokens, of which the last two are the answer: the logits of positions 3 and 4 choose them.
    reference = torch.eye(6)
    other = reference.clone()
    other[position, 0] = 2
    sums = DisagreementSums()
    sums.add(reference, other, prompt_tokens=4)
    assert (sums.result().answers, sums.result().next_token) == (answers, pytest.approx(1 / 6))


def test_tokens_that_a_model_rules_out_do_no_harm() -> None:
    reference, other = torch.zeros(1, 3), torch.zeros(1, 3)
    reference[0, 0] = other[0, 0] = -torch.inf
    sums = DisagreementSums()
    sums.add(reference, other, prompt_tokens=1)
    assert (sums.result().kl, sums.result().logit_rms) == (0, 0)
