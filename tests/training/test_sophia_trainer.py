"""`SophiaMixin`: against a loop written by hand, beside the penalty, resumed, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import ParallelismConfig
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from flexlora.adapters import lora_pairs
from flexlora.errors import FlexError, UsageError
from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.recipe import Optimizer
from flexlora.training import FourierMixin, SophiaMixin
from flexlora.training.stage import sophia_options

LAST = "checkpoint-3"
SOPHIA = {"rho": 10.0, "betas": (0.9, 0.5), "interval": 2}


class SophiaTrainer(SophiaMixin, Trainer):
    """The mixin on the plain trainer."""


class FourierSophiaTrainer(FourierMixin, SophiaMixin, Trainer):
    """Both mixins."""


def make_model(dropout: float = 0.1) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    lora = LoraConfig(r=3, lora_dropout=dropout, target_modules=["down_proj"])
    model = get_peft_model(LlamaForCausalLM(config), lora)
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.B, std=0.3)
    return model


def make_rows(labels: bool = True) -> list[dict[str, torch.Tensor]]:
    """24 rows; of every other one most labels are masked, so that micro-batches have unequal numbers of them."""
    rows = []
    for number, ids in enumerate(torch.randint(50, (24, 12), generator=torch.Generator().manual_seed(1))):
        masked = ids.clone()
        masked[: 9 if number % 2 else 2] = -100
        rows.append({"input_ids": ids, "labels": masked} if labels else {"input_ids": ids})
    return rows


def make_trainer(
    folder: Path, sophia: dict[str, Any] | None = SOPHIA, penalty: dict[str, Any] | None = None, **changes: Any
) -> Any:
    values = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "lr_scheduler_type": "linear",
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",
        "seed": 7,
    }
    dropout, rows = changes.pop("dropout", 0.1), changes.pop("rows", None)
    arguments = {
        "model": make_model(dropout),
        "args": TrainingArguments(**(values | changes)),
        "train_dataset": make_rows() if rows is None else rows,
        "sophia": sophia,
    }
    return SophiaTrainer(**arguments) if penalty is None else FourierSophiaTrainer(**arguments, penalty=penalty)


def factors(model: Any) -> list[torch.Tensor]:
    return [factor.detach().clone() for pair in lora_pairs(model) for factor in (pair.A, pair.B)]


def hessians(trainer: Any) -> list[torch.Tensor]:
    state = trainer.curvature.optimizer.state
    return [state[factor]["hessian"].clone() for pair in lora_pairs(trainer.model) for factor in (pair.A, pair.B)]


def lines(trainer: Any) -> list[dict[str, float]]:
    return [line for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_trainer_trains_as_a_loop_by_hand(accumulation: int, tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path,
        dropout=0.0,
        max_steps=5,
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=1e9,
    )
    trainer.train()
    model, rows = make_model(0.0).train(), make_rows()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = SophiaG(trained, lr=1e-2, rho=10.0, betas=(0.9, 0.5), weight_decay=0.1)
    curvature = GaussNewtonBartlett(optimizer, interval=2, seed=7)
    for step in range(5):
        chosen = rows[4 * step : 4 * step + 4]
        batch = {name: torch.stack([row[name] for row in chosen]) for name in ("input_ids", "labels")}
        curvature.update(model, {**batch, "use_cache": False})
        model(**batch).loss.backward()
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 5)
        optimizer.step()
        optimizer.zero_grad()
        for name, value in optimizer.statistics().items():
            assert lines(trainer)[step][name] == pytest.approx(value, rel=1e-3), (step, name)
    assert 0.1 < lines(trainer)[-1]["clipped_fraction"] < 0.9
    for found, expected in zip(factors(trainer.model), factors(model), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_penalty_joins_the_step_and_not_the_curvature(tmp_path: Path) -> None:
    without = make_trainer(tmp_path, penalty={"lam": 0.0}, max_steps=1, dropout=0.0)
    with_penalty = make_trainer(tmp_path, penalty={"lam": 5.0}, max_steps=1, dropout=0.0)
    alone = make_trainer(tmp_path, max_steps=1, dropout=0.0)
    for trainer in (without, with_penalty, alone):
        trainer.train()
    for plain, penalised, mixin in zip(*map(hessians, (without, with_penalty, alone)), strict=True):
        assert plain.max() > 0
        assert torch.equal(plain, penalised)
        assert torch.equal(plain, mixin)
    for plain, penalised, mixin in zip(*(factors(t.model) for t in (without, with_penalty, alone)), strict=True):
        assert not torch.equal(plain, penalised)
        assert torch.equal(plain, mixin)
    assert {"penalty", "lam", "clipped_fraction", "h_mean", "h_max", "h_zero_fraction"} <= lines(with_penalty)[0].keys()


def test_the_estimate_leaves_the_global_random_numbers_alone(tmp_path: Path) -> None:
    states = []
    for sophia in (None, SOPHIA):
        trainer = make_trainer(tmp_path, sophia, lr_scheduler_type="constant")
        trainer.train()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert "clipped_fraction" in lines(trainer)[0]
    plain = make_trainer(tmp_path, None, max_steps=1)
    plain.train()
    assert "clipped_fraction" not in lines(plain)[0]
    assert type(plain.optimizer.optimizer).__name__ == "AdamW"


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2}, {"num_train_epochs": 3, "max_steps": -1}])
def test_a_resumed_training_equals_an_undisturbed_one(changes: dict[str, Any], tmp_path: Path) -> None:
    """Stopped after an odd step, between two estimates, and with dropout in the estimate too."""
    options = {"lam": 0.1, "reference": "init"}
    if "num_train_epochs" in changes:
        changes = {**changes, "per_device_train_batch_size": 12}  # two steps an epoch: step 3 is amid the second
    whole = make_trainer(tmp_path, SOPHIA, options, save_strategy="steps", save_steps=3, **changes)
    whole.train()
    resumed = make_trainer(tmp_path / "again", SOPHIA, options, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / LAST))
    assert resumed.state.global_step == 6
    for name in ("exp_avg", "hessian"):
        for p, q in zip(lora_pairs(whole.model), lora_pairs(resumed.model), strict=True):
            for a, b in ((p.A, q.A), (p.B, q.B)):
                one, other = whole.curvature.optimizer.state[a], resumed.curvature.optimizer.state[b]
                assert torch.equal(one[name], other[name])
                assert torch.equal(a, b)
    states = [trainer.curvature.state_dict() for trainer in (whole, resumed)]
    assert torch.equal(states[0]["generator"], states[1]["generator"])
    assert states[0]["steps_left"] == states[1]["steps_left"]
    times = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    logs = [[{k: v for k, v in line.items() if k not in times} for line in lines(t)] for t in (whole, resumed)]
    assert logs[0] == logs[1]
    # And the generator matters: with another one the training goes another way.
    state = torch.load(tmp_path / LAST / "sophia_curvature.pt")
    state["generator"] = torch.Generator().manual_seed(99).get_state()
    torch.save(state, tmp_path / LAST / "sophia_curvature.pt")
    other = make_trainer(tmp_path / "other", SOPHIA, options, **changes)
    other.train(resume_from_checkpoint=str(tmp_path / LAST))
    assert any(not torch.equal(a, b) for a, b in zip(factors(other.model), factors(whole.model), strict=True))


def test_the_estimate_is_made_in_training_mode_also_after_an_evaluation(tmp_path: Path) -> None:
    modes: list[tuple[bool, bool]] = []
    trainer = make_trainer(tmp_path, {**SOPHIA, "interval": 1}, max_steps=3)
    trainer.eval_dataset = make_rows()[:4]
    trainer.args.eval_strategy, trainer.args.eval_steps = "steps", 1
    trainer.model.register_forward_pre_hook(
        lambda model, _, inputs: modes.append((model.training, "labels" in inputs)), with_kwargs=True
    )
    trainer.model.eval()  # as `from_pretrained` leaves it
    trainer.train()
    step = [(True, False), (True, True), (False, True)]  # estimate, training, evaluation
    assert modes == 3 * step


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, None, save_strategy="steps", save_steps=3, max_steps=3).train()
    with pytest.raises(UsageError, match="another optimizer"):
        make_trainer(tmp_path / "again").train(resume_from_checkpoint=str(tmp_path / LAST))


@pytest.mark.parametrize(
    ("sophia", "part"),
    [
        ({"interval": 0}, "interval 0"),
        ({"rho": -1.0}, "rho -1.0"),
        ({"gamma": 0.1}, "no option 'gamma'"),
        ({"lr": 0.1}, "no option 'lr'"),
    ],
)
def test_wrong_options_are_refused_before_a_model_is_loaded(sophia: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=part):
        SophiaTrainer(model="no/such-model", sophia=sophia)


def test_what_it_cannot_work_with_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    optimizers = (torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1), None)
    with pytest.raises(UsageError, match="an optimizer is given too"):
        SophiaTrainer(model=model, sophia={}, optimizers=optimizers)
    with pytest.raises(TypeError, match="SophiaMixin comes first"):

        class Backwards(Trainer, SophiaMixin):
            pass

    with pytest.raises(UsageError, match="without labels"):
        make_trainer(tmp_path, rows=make_rows(labels=False)).train()
    broken = make_trainer(tmp_path)
    with torch.no_grad():
        next(iter(lora_pairs(broken.model))).B.fill_(torch.nan)
    with pytest.raises(FlexError, match="after step 0, the gradient on sampled labels is not finite"):
        broken.train()
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match="Sophia's estimate"):
        SophiaTrainer(model="no/such-model", sophia={})


def test_a_recipe_s_words_are_the_mixin_s() -> None:
    assert sophia_options(Optimizer(name="adamw"), 300) is None
    assert sophia_options(Optimizer(name="sophia"), 480_000) == {
        "betas": (0.965, 0.99),
        "rho": 0.04,
        "bias_correction": False,
        "interval": 10,
    }
    changed = Optimizer(name="sophia", betas=(0.9, 0.95), rho=0.1, bias_correction=True, hessian_interval=5)
    assert sophia_options(changed, 300) == {"betas": (0.9, 0.95), "rho": 0.1, "bias_correction": True, "interval": 5}


def test_under_tensor_parallelism_the_mixin_refuses(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.get_tp_size = lambda: 2
    with pytest.raises(UsageError, match=r"sophia: in a loop of your own, .* the mixin does not pass one"):
        trainer.train()


def test_under_context_parallelism_the_mixin_refuses_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": []}
    arguments = TrainingArguments(**values, parallelism_config=ParallelismConfig(cp_size=2))
    words = r"context parallelism \(cp_size 2\): the estimate runs .* would shift .*; use FSDP2 or DDP with whole texts"
    with pytest.raises(UsageError, match=words):
        SophiaTrainer(model="no/such-model", args=arguments, sophia={})
    monkeypatch.setenv("ACCELERATE_USE_PARALLELISM_CONFIG", "true")
    monkeypatch.setenv("PARALLELISM_CONFIG_CP_SIZE", "2")
    with pytest.raises(UsageError, match=words):
        SophiaTrainer(model="no/such-model", args=TrainingArguments(**values), sophia={})
    monkeypatch.delenv("ACCELERATE_USE_PARALLELISM_CONFIG")
    trainer = make_trainer(tmp_path)
    trainer.get_cp_size = lambda: 2
    with pytest.raises(UsageError, match="sophia: the estimate runs"):
        trainer.train()
