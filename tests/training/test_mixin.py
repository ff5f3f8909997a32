"""`FourierMixin` on the plain trainer: couplings, schedules, resuming, refusals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import ParallelismConfig
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from trl import SFTConfig

from flexlora.adapters import lora_pairs
from flexlora.errors import UsageError
from flexlora.fourier import FourierPenalty
from flexlora.training import FourierMixin, FourierTrainer, refuse_engines
from flexlora.training.mixin import _ratio
from scaler import with_scaler

LAST = "checkpoint-3"


class FourierTransformersTrainer(FourierMixin, Trainer):
    """The mixin on the plain trainer."""


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=3, lora_dropout=0.1, target_modules=["down_proj"]))
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.B, std=0.3)
    return model


def make_trainer(folder: Path, penalty: dict[str, Any], **changes: Any) -> Any:
    rows = torch.randint(50, (24, 12), generator=torch.Generator().manual_seed(1))
    values = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "linear",
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return FourierTransformersTrainer(
        model=make_model(),
        args=TrainingArguments(**(values | changes)),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        penalty=penalty,
    )


def factors(model: Any) -> list[torch.Tensor]:
    return [factor.detach().clone() for pair in lora_pairs(model) for factor in (pair.A, pair.B)]


def logged(trainer: Any, key: str) -> list[float]:
    return [line[key] for line in trainer.state.log_history if key in line]


def test_decoupled_follows_the_learning_rate_s_schedule(tmp_path: Path) -> None:
    options = {"lam": 0.1, "view": "rows", "coupling": "decoupled"}
    trainer = make_trainer(tmp_path, options, learning_rate=1e-30, max_steps=4)  # only the decay moves anything
    trainer.train()
    expected = make_model()
    penalty = FourierPenalty(expected, **options)
    for ratio in (1, 0.75, 0.5, 0.25):
        penalty.decay(ratio)
    assert (factors(expected)[1] - factors(make_model())[1]).abs().max() > 0.01
    for found, wanted in zip(factors(trainer.model), factors(expected), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])  # fused, the optimizer itself skips it
def test_decoupled_waits_where_the_scaler_skipped_the_step(optim: str, tmp_path: Path) -> None:
    options = {"lam": 0.1, "coupling": "decoupled"}
    trainer = with_scaler(make_trainer(tmp_path, options, max_steps=2, optim=optim), 2.0**40)
    trainer.train()
    for found, first in zip(factors(trainer.model), factors(make_model()), strict=True):
        assert torch.equal(found, first)


def test_the_gradient_is_scaled_as_the_task_s_under_fp16() -> None:
    """A plain loop with a real scaler: unscaled, the sum is that of a loop without one."""

    def gradients(scaler: Any) -> list[torch.Tensor]:
        model = make_model().eval()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        ids = torch.arange(12)[None]
        scaler.scale(model(input_ids=ids, labels=ids).loss).backward()
        FourierPenalty(model, lam=0.5).add_gradient(scale=scaler.get_scale())
        scaler.unscale_(optimizer)
        return [factor.grad for pair in lora_pairs(model) for factor in (pair.A, pair.B)]

    plain = gradients(SimpleNamespace(scale=lambda loss: loss, get_scale=lambda: 1.0, unscale_=lambda _: None))
    scaled = gradients(torch.amp.GradScaler("cpu", init_scale=1024.0))
    for a, b in zip(scaled, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_the_trainer_passes_the_scale_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tmp_path, {"lam": 0.5}, max_steps=1)
    trainer.current_gradient_accumulation_steps = 1  # as within train()
    scales: list[float] = []

    def record(scale: float) -> None:
        scales.append(scale)

    monkeypatch.setattr(trainer.fourier, "add_gradient", record)
    inputs = {"input_ids": torch.arange(12)[None], "labels": torch.arange(12)[None]}
    trainer.training_step(trainer.model, dict(inputs))
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    monkeypatch.setattr(trainer.accelerator, "scaler", scaler)
    trainer.training_step(trainer.model, dict(inputs))
    assert scales == [1.0, 512.0]


def test_cosine_ends_with_the_training(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, {"lam": 0.5, "schedule": "cosine", "warmup_steps": 2})
    trainer.train()
    assert logged(trainer, "lam") == pytest.approx([0, 0.25, 0.5, 0.5 * 0.853553, 0.25, 0.5 * 0.146447], abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"lam": 0.5, "reference": "init", "view": "delta"},
        {"lam": 0.5, "schedule": "target", "target": 0.2, "rate": 0.5},
        {"lam": 0.5, "schedule": "linear", "warmup_steps": 5, "coupling": "decoupled"},
    ],
)
def test_a_resumed_training_equals_an_undisturbed_one(options: dict[str, Any], tmp_path: Path) -> None:
    whole = make_trainer(tmp_path, options, save_strategy="steps", save_steps=3)
    whole.train()
    resumed = make_trainer(tmp_path / "again", options)
    resumed.train(resume_from_checkpoint=str(tmp_path / LAST))
    assert resumed.state.global_step == 6
    for a, b in zip(factors(resumed.model), factors(whole.model), strict=True):
        assert torch.equal(a, b)
    assert logged(resumed, "lam") == logged(whole, "lam")
    # And the state matters: without it the training goes another way.
    torch.save(make_trainer(tmp_path / "other", options).fourier.state_dict(), tmp_path / LAST / "fourier_penalty.pt")
    other = make_trainer(tmp_path / "other", options)
    other.train(resume_from_checkpoint=str(tmp_path / LAST))
    same = [torch.equal(a, b) for a, b in zip(factors(other.model), factors(whole.model), strict=True)]
    assert all(same) if options.get("reference") else not any(same)  # a fresh model has the same initial values


def test_a_second_training_begins_anew(tmp_path: Path) -> None:
    """Also of another model, as in every trial of a search."""
    trainer = make_trainer(tmp_path, {"lam": 0.5, "schedule": "cosine", "reference": "init"}, learning_rate=1e-30)
    trainer.train()
    first = logged(trainer, "lam")
    with torch.no_grad():
        for pair in lora_pairs(trainer.model):
            pair.A.add_(1.0)
    trainer.train()
    assert logged(trainer, "lam") == first
    assert first[0] == 0.5
    assert max(logged(trainer, "penalty")) < 1e-6  # the references are the values at its own beginning


def test_decoupled_follows_the_factors_own_learning_rate(tmp_path: Path) -> None:
    options = {"lam": 0.1, "coupling": "decoupled"}

    def ratio(*groups: tuple[float, float]) -> float:
        trainer = make_trainer(tmp_path, options, learning_rate=1e-30, max_steps=1)
        chosen = trainer.fourier.parameters
        others = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([{"params": [others]}, *({"params": [p]} for p in chosen)], lr=1.0)
        for group, (rate, peak) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"], group["initial_lr"] = rate, peak
        return _ratio(optimizer, chosen)

    assert ratio((0.0, 1.0), (0.5, 1.0), (1.0, 2.0)) == 0.5
    with pytest.raises(UsageError, match=r"several schedules \(now at 0.5, 1 of their peaks\)"):
        ratio((0.0, 1.0), (0.5, 1.0), (2.0, 2.0))


def test_a_step_that_the_scaler_skipped_does_not_advance_the_schedule(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, {"lam": 0.5, "schedule": "linear", "warmup_steps": 4}, max_steps=3)
    with_scaler(trainer, 2.0**40).train()
    assert trainer.fourier.schedule.step == 0


@pytest.mark.parametrize(
    ("penalty", "part"),
    [
        ({"lam": 0.1, "strength": 2}, "there is no option 'strength'"),
        ({"view": "rows"}, "lam is missing"),
        ({"lam": "0.1"}, "got '0.1'"),
        ({"lam": 0.1, "tau": 2}, "between 0 and 1; got 2"),
        ({"lam": 2.0, "coupling": "decoupled"}, "diverges"),
    ],
)
def test_wrong_options_are_refused_before_the_model_loads(penalty: dict[str, Any], part: str, tmp_path: Path) -> None:
    arguments = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    with pytest.raises(UsageError, match=part):
        FourierTrainer(model="no/such-model", args=arguments, penalty=penalty)


def test_a_checkpoint_of_another_penalty_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, {"lam": 0.5}, save_strategy="steps", save_steps=3, max_steps=3).train()
    other = make_trainer(tmp_path / "again", {"lam": 0.5, "view": "rows"})
    with pytest.raises(UsageError, match="view 'factors', and this one has 'rows'"):
        other.train(resume_from_checkpoint=str(tmp_path / LAST))


def test_the_mixin_comes_first() -> None:
    with pytest.raises(TypeError, match="FourierMixin comes first"):

        class Backwards(Trainer, FourierMixin):
            pass


def test_a_checkpoint_without_the_penalty_s_state_is_refused(tmp_path: Path) -> None:
    options = {"lam": 0.5}
    make_trainer(tmp_path, options, save_strategy="steps", save_steps=3, max_steps=3).train()
    (tmp_path / LAST / "fourier_penalty.pt").unlink()
    with pytest.raises(UsageError, match="cannot go on where it was"):
        make_trainer(tmp_path / "again", options).train(resume_from_checkpoint=str(tmp_path / LAST))


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"ACCELERATE_USE_DEEPSPEED": "1"}, "DeepSpeed"),
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP1"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP2"),
    ],
)
def test_engines_are_refused_before_the_model_loads(
    environment: dict[str, str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=part):
        FourierTrainer(model="no/such-model", args=arguments, penalty={"lam": 0.1})


def test_fsdp1_in_the_arguments_is_refused_and_fsdp2_is_not(tmp_path: Path) -> None:
    common: dict[str, Any] = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": [], "fsdp": True}
    with pytest.raises(UsageError, match="FSDP1"):
        refuse_engines(TrainingArguments(**common, fsdp_config={"version": 1}))
    refuse_engines(TrainingArguments(**common, fsdp_config={"version": 2}))


def test_deepspeed_in_the_arguments_is_refused(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    arguments.deepspeed = {"zero_optimization": {"stage": 2}}  # given at once it would have to be installed
    with pytest.raises(UsageError, match="steps inside `backward`"):
        refuse_engines(arguments)


@pytest.mark.parametrize("launched", [True, False])
def test_sequence_parallelism_is_refused_as_deepspeed_and_context_parallelism_is_not(
    launched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arguments(**sizes: int) -> TrainingArguments:
        monkeypatch.setenv("ACCELERATE_USE_PARALLELISM_CONFIG", str(launched))
        for name, size in sizes.items():
            monkeypatch.setenv(f"PARALLELISM_CONFIG_{name.upper()}", str(size))
        config = None if launched else ParallelismConfig(**sizes)
        return TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], parallelism_config=config)

    refuse_engines(arguments(cp_size=2))
    with pytest.raises(
        UsageError, match=r"sequence parallelism by DeepSpeed \(sp_size 2\): it steps inside `backward`"
    ):
        refuse_engines(arguments(cp_size=1, sp_size=2))
