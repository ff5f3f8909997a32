"""The estimate of the curvature: its expectation, its labels, its randomness, and that training does not notice it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from flexlora.optim import GaussNewtonBartlett, SophiaG, sample_labels

VOCABULARY, WIDTH = 5, 3


class Softmax(torch.nn.Module):
    """Logits from a table of inputs by one linear map, so that the Gauss-Newton matrix is known."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.nn.Buffer(torch.randn(VOCABULARY, WIDTH, generator=generator))
        self.weight = torch.nn.Parameter(torch.randn(VOCABULARY, WIDTH, generator=generator))
        self.dropout = torch.nn.Dropout(dropout)
        self.seen: list[set[str]] = []

    def forward(self, input_ids: torch.Tensor, **others: Any) -> Any:
        self.seen.append({"input_ids", *others})
        return SimpleNamespace(logits=self.dropout(self.inputs[input_ids]) @ self.weight.T)


def make_batch(rows: int = 4, length: int = 6, masked: int = 2) -> dict[str, torch.Tensor]:
    """Inputs, and labels of which the first are masked."""
    ids = torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :masked] = -100
    return {"input_ids": ids, "labels": labels}


def estimated(model: torch.nn.Module, *batches: Any, seed: int = 0, **options: Any) -> torch.Tensor:
    """h of the model's weight after one estimate, without the factor of the average."""
    optimizer = SophiaG(model.parameters(), lr=0.1, betas=(0.9, 0.5))
    assert GaussNewtonBartlett(optimizer, seed=seed, **options).update(model, *batches)
    return 2 * optimizer.state[next(model.parameters())]["hessian"]


@pytest.mark.parametrize("shift", [True, False])
def test_its_expectation_is_the_gauss_newton_diagonal(shift: bool) -> None:
    model, batch = Softmax(), make_batch(masked=3)
    # Of the mean cross entropy: the mean over supervised positions of p_i (1 - p_i) x_j^2, by hand.
    ids, labels = batch["input_ids"], batch["labels"]
    where = (labels[:, 1:] if shift else labels) != -100
    inputs = model.inputs[(ids[:, :-1] if shift else ids)[where]].double()
    p = (inputs @ model.weight.detach().double().T).softmax(-1)
    expected = (p * (1 - p)).T @ inputs**2 / len(inputs)
    draws = torch.stack([estimated(model, batch, seed=seed, shift=shift) for seed in range(2000)]).double()
    error = draws.std(0) / 2000**0.5
    assert ((draws.mean(0) - expected).abs() / error).max() < 4.5
    assert (error / expected).max() < 0.08  # precise enough to mean something
    assert model.seen[-1] == {"input_ids"}  # the model runs without labels


def test_only_supervised_positions_count() -> None:
    """Whatever stands at masked positions that no supervised one sees: this model looks at one position only."""
    model, batch = Softmax(), make_batch(masked=3)
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, :2] = 4 - changed["input_ids"][:, :2]  # position 2 predicts the first supervised label
    changed["input_ids"][:, -1] = 4 - changed["input_ids"][:, -1]  # the last predicts nothing
    assert torch.equal(estimated(model, batch), estimated(model, changed))
    changed["input_ids"][:, 2] = 4 - changed["input_ids"][:, 2]
    assert not torch.equal(estimated(model, batch), estimated(model, changed))
    # Which label was right plays no part.
    changed = {**batch, "labels": torch.where(batch["labels"] == -100, -100, 0)}
    assert torch.equal(estimated(model, batch), estimated(model, changed))


def test_micro_batches_estimate_as_one_batch() -> None:
    model, batch = Softmax(), make_batch(masked=1)
    batch["labels"][0, :4] = -100  # of unequal numbers of labels
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(estimated(model, *parts), estimated(model, batch))


def test_training_does_not_notice_it() -> None:
    model, batch = Softmax(dropout=0.5), make_batch()
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    model.register_parameter("frozen", frozen)
    other = torch.nn.Parameter(torch.ones(2))  # trained by someone else
    model.register_parameter("other", other)
    gradient, theirs = torch.randn(VOCABULARY, WIDTH), torch.randn(2)
    model.weight.grad, other.grad = gradient, theirs
    before = gradient.clone(), theirs.clone(), model.weight.detach().clone(), torch.get_rng_state()
    curvature = GaussNewtonBartlett(SophiaG([model.weight], lr=0.1))
    assert curvature.update(model, batch)
    assert model.weight.grad is gradient
    assert other.grad is theirs
    assert frozen.grad is None
    assert torch.equal(gradient, before[0])
    assert torch.equal(theirs, before[1])
    assert torch.equal(model.weight, before[2])
    assert torch.equal(torch.get_rng_state(), before[3])
    # Nor does it leave a gradient where there was none, also when it fails.
    model.weight.grad = None
    curvature = GaussNewtonBartlett(SophiaG([model.weight], lr=0.1))
    curvature.update(model, batch)
    assert model.weight.grad is None
    model.weight.grad = gradient
    with pytest.raises(ValueError, match="do not match labels"):
        GaussNewtonBartlett(SophiaG([model.weight], lr=0.1)).update(
            model, {"input_ids": batch["input_ids"][:, :-1], "labels": batch["labels"]}
        )
    assert model.weight.grad is gradient
    assert torch.equal(torch.get_rng_state(), before[3])


def test_its_randomness_is_its_own_and_is_saved() -> None:
    model, batch = Softmax(dropout=0.5), make_batch()

    def three(global_seed: int, seed: int, save_after: int | None = None) -> list[torch.Tensor]:
        torch.manual_seed(global_seed)
        optimizer = SophiaG([model.weight], lr=0.1)
        curvature = GaussNewtonBartlett(optimizer, interval=1, seed=seed)
        found = []
        for number in range(3):
            if number == save_after:
                state = curvature.state_dict()
                curvature.update(model, batch)  # would move the generator on
                optimizer.state.clear()
                curvature = GaussNewtonBartlett(optimizer, interval=1, seed=99)
                curvature.load_state_dict(state)
            optimizer.state.clear()
            curvature.update(model, batch)
            found.append(optimizer.state[model.weight]["hessian"].clone())
        return found

    first = torch.stack(three(0, seed=1))
    assert torch.equal(first, torch.stack(three(5, seed=1)))
    assert torch.equal(first, torch.stack(three(5, seed=1, save_after=2)))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, torch.stack(three(0, seed=2)))


def test_the_interval_counts_calls_and_goes_on_from_a_saved_state() -> None:
    model, batch = Softmax(), make_batch()

    def fresh() -> GaussNewtonBartlett:
        return GaussNewtonBartlett(SophiaG([model.weight], lr=0.1), interval=3)

    curvature = fresh()
    did = [curvature.update(model, batch) for _ in range(5)]
    again = fresh()
    again.load_state_dict(curvature.state_dict())
    did += [again.update(model, batch) for _ in range(4)]
    assert did == [True, False, False] * 3


def test_a_new_group_is_estimated_at_the_next_update() -> None:
    model, batch = Softmax(), make_batch()
    model.register_parameter("scale", torch.nn.Parameter(torch.ones(())))
    model.dropout.register_forward_hook(lambda _, __, output: output * model.scale)
    optimizer = SophiaG([model.weight], lr=0.1)
    curvature = GaussNewtonBartlett(optimizer, interval=3)
    did = [curvature.update(model, batch) for _ in range(2)]
    optimizer.add_param_group({"params": [model.scale]})
    again = GaussNewtonBartlett(optimizer, interval=3)  # nor does an interruption hide it
    again.load_state_dict(curvature.state_dict())
    did += [again.update(model, batch) for _ in range(4)]
    assert did == [True, False, True, False, False, True]
    assert [group["estimates"] for group in optimizer.param_groups] == [3, 2]
    model.scale.grad = torch.ones(())
    optimizer.step()


def test_a_batch_without_supervised_labels_is_passed_over() -> None:
    model, batch = Softmax(), make_batch()
    empty = {**batch, "labels": torch.full_like(batch["labels"], -100)}
    curvature = GaussNewtonBartlett(SophiaG([model.weight], lr=0.1), interval=4)
    state = curvature._generator.get_state()
    assert [curvature.update(model, one) for one in (empty, empty, batch, batch)] == [False, False, True, False]
    assert curvature.optimizer.param_groups[0]["estimates"] == 1
    assert not torch.equal(curvature._generator.get_state(), state)
    # Beside one with labels it takes part, and changes nothing.
    assert torch.equal(estimated(model, empty, batch), estimated(model, batch))


def test_a_loss_scale_changes_nothing_and_is_lowered_where_it_overflows() -> None:
    model, batch = Softmax(), make_batch()
    model.inputs.mul_(1e4)  # for gradients of some thousands, with the same logits
    model.weight.data.div_(1e4)
    plain = estimated(model, batch)

    def scaled(scale: float) -> torch.Tensor:
        optimizer = SophiaG(model.parameters(), lr=0.1, betas=(0.9, 0.5))
        GaussNewtonBartlett(optimizer).update(model, batch, scale=scale)
        return 2 * optimizer.state[model.weight]["hessian"]

    assert torch.equal(scaled(1024.0), plain)
    torch.testing.assert_close(scaled(2.0**127), plain)


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    model = Softmax()
    model.weight.data.fill_(torch.inf)
    curvature = GaussNewtonBartlett(SophiaG(model.parameters(), lr=0.1))
    with pytest.raises(FloatingPointError, match="not finite"):
        curvature.update(model, make_batch(), scale=8.0)
    assert curvature.optimizer.param_groups[0]["estimates"] == 0


@pytest.mark.parametrize("wrap", ["tensor", "tuple"])
def test_logits_alone_or_in_a_tuple(wrap: str) -> None:
    class Plain(Softmax):
        def forward(self, input_ids: torch.Tensor, **others: Any) -> Any:
            logits = super().forward(input_ids).logits
            return logits if wrap == "tensor" else (logits, None)

    assert torch.equal(estimated(Plain(), make_batch()), estimated(Softmax(), make_batch()))


def test_what_it_cannot_do_is_refused() -> None:
    model, batch = Softmax(), make_batch()
    with pytest.raises(ValueError, match="AdamW: the estimate is for SophiaG"):
        GaussNewtonBartlett(torch.optim.AdamW(model.parameters()))
    optimizer = SophiaG(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="interval 0"):
        GaussNewtonBartlett(optimizer, interval=0)
    with pytest.raises(ValueError, match=r"without labels \(it has input_ids\)"):
        GaussNewtonBartlett(optimizer).update(model, {"input_ids": batch["input_ids"]})
    assert GaussNewtonBartlett(Accelerator(cpu=True).prepare(optimizer)).optimizer is optimizer


def test_sampled_labels_follow_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0], [3.0, 0.0, 0.0, -torch.inf]])
    draws = 20_000
    uniform = torch.rand(2 * draws, generator=torch.Generator().manual_seed(0))
    labels = sample_labels(logits.repeat(draws, 1), uniform).reshape(draws, 2)
    for row in range(2):
        found = torch.bincount(labels[:, row], minlength=4) / draws
        torch.testing.assert_close(found, logits[row].softmax(-1), atol=0.015, rtol=0)
        assert (found == 0).tolist() == logits[row].isinf().tolist()


def test_the_ends_of_the_distribution_are_never_left() -> None:
    logits = torch.full((2, 7), -torch.inf)
    logits[:, 2:5] = torch.tensor([1.0, 2.0, 3.0])
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert sample_labels(logits, ends).tolist() == [2, 4]
    assert sample_labels(logits[:0], ends[:0]).tolist() == []
