"""The trainer against plain TRL and against gradients worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from flexlora import models
from flexlora.adapters import add_lora, lora_pairs
from flexlora.data import Example
from flexlora.errors import FlexError
from flexlora.fourier import FourierPenalty
from flexlora.recipe import Lora, Penalty
from flexlora.training import FourierTrainer, tokenise
from flexlora.training.stage import as_dataset
from small_models import FAMILIES, make_model

EXAMPLES = [
    Example(source="t", key=str(i), prompt=f'"""\nAdd {i}.\n"""\n', completion=f"def add(x):\n    return x + {i * i}\n")
    for i in range(12)
]


@pytest.fixture(autouse=True)
def quiet() -> None:
    models.quiet()


def arguments(folder: Path, **changes: Any) -> SFTConfig:
    values = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": [],
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "max_length": 64,
    }
    return SFTConfig(**(values | changes))


def trained(
    folder: Path, model_path: Path, penalty: Penalty | None, lora: Lora | None = None, **changes: Any
) -> tuple[Any, list[dict[str, float]]]:
    """Train a few steps; `penalty=None` is plain TRL on text it tokenises itself."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = add_lora(AutoModelForCausalLM.from_pretrained(model_path), lora or Lora(dropout=0.1), seed=0)
    if penalty is None:
        texts = Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in EXAMPLES])
        trainer = SFTTrainer(
            model=model, args=arguments(folder, **changes), train_dataset=texts, processing_class=tokenizer
        )
    else:
        trainer = FourierTrainer(
            model=model,
            args=arguments(folder, **changes),
            train_dataset=as_dataset([tokenise(example, tokenizer, 64) for example in EXAMPLES]),
            processing_class=tokenizer,
            penalty=penalty.model_dump(),
        )
    trainer.train()
    return trainer.model, trainer.state.log_history


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_lambda_zero_equals_plain_trl_to_the_last_bit(accumulation: int, small_model: Path, tmp_path: Path) -> None:
    changes = {"gradient_accumulation_steps": accumulation, "max_steps": 4}
    plain, plain_log = trained(tmp_path / "a", small_model, None, **changes)
    ours, our_log = trained(tmp_path / "b", small_model, Penalty(lam=0), **changes)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(ours)[name]), name
    assert [line["loss"] for line in plain_log if "loss" in line] == [
        line["loss"] for line in our_log if "loss" in line
    ]


def test_the_penalty_joins_once_per_step_and_before_clipping(small_model: Path, tmp_path: Path) -> None:
    """With a learning rate of zero and SGD's view of it: the gradient at the step is task + lambda dR/dw, clipped."""
    seen: list[dict[str, torch.Tensor]] = []

    class Recording(FourierTrainer):
        def create_optimizer(self, *args: Any) -> Any:
            optimizer = super().create_optimizer(*args)
            step = optimizer.step

            def record(*a: Any, **k: Any) -> Any:
                seen.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})
                return step(*a, **k)

            optimizer.step = record
            return optimizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    data = as_dataset([tokenise(example, tokenizer, 64) for example in EXAMPLES])

    def gradients(lam: float, norm: float) -> dict[str, torch.Tensor]:
        seen.clear()
        model = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(dropout=0), seed=0)
        for pair in lora_pairs(model):
            torch.manual_seed(1)
            torch.nn.init.normal_(pair.B, std=0.1)
        Recording(
            model=model,
            # 12 examples in batches of 4 at accumulation 2: the second step is a short group of one batch.
            args=arguments(
                tmp_path, max_steps=2, gradient_accumulation_steps=2, max_grad_norm=norm, learning_rate=1e-30
            ),
            train_dataset=data,
            processing_class=tokenizer,
            penalty={"lam": lam},
        ).train()
        assert len(seen) == 2
        return seen[-1]

    task, both, clipped = gradients(0.0, 1e9), gradients(3.0, 1e9), gradients(3.0, 0.25)
    reference = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(dropout=0), seed=0)
    for pair in lora_pairs(reference):
        torch.manual_seed(1)
        torch.nn.init.normal_(pair.B, std=0.1)
    FourierPenalty(reference, lam=3.0).add_gradient()
    expected = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    assert expected.keys() == task.keys()
    for name in task:
        torch.testing.assert_close(both[name], task[name] + expected[name], rtol=1e-4, atol=1e-6)
    norm = torch.stack([g.norm() for g in both.values()]).norm()
    assert norm > 1
    torch.testing.assert_close(torch.stack([g.norm() for g in clipped.values()]).norm(), torch.tensor(0.25))
    for name in task:
        torch.testing.assert_close(clipped[name], both[name] * 0.25 / norm, rtol=1e-3, atol=1e-6)


def test_accumulating_four_batches_equals_one_of_four_times_the_size(small_model: Path, tmp_path: Path) -> None:
    same = {"max_steps": 3, "num_train_epochs": 3}
    lora, penalty = Lora(dropout=0), Penalty(lam=0.05)
    one, one_log = trained(tmp_path / "a", small_model, penalty, lora, per_device_train_batch_size=12, **same)
    four, four_log = trained(
        tmp_path / "b", small_model, penalty, lora, per_device_train_batch_size=3, gradient_accumulation_steps=4, **same
    )
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(four)[name], value, rtol=1e-3, atol=1e-5)
    for a, b in zip(one_log, four_log, strict=True):
        if "penalty" in a:
            assert a["penalty"] == pytest.approx(b["penalty"], rel=1e-4)
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


def test_the_penalty_lowers_the_high_frequency_share(small_model: Path, tmp_path: Path) -> None:
    _, free = trained(tmp_path / "a", small_model, Penalty(lam=0), max_steps=40, gradient_accumulation_steps=1)
    _, held = trained(tmp_path / "b", small_model, Penalty(lam=1.0), max_steps=40, gradient_accumulation_steps=1)
    share = [
        [line["high_frequency_share"] for line in log if "high_frequency_share" in line][-1] for log in (free, held)
    ]
    assert share[1] < 0.5 * share[0]
    assert all(line["penalty"] == 0 for line in free if "penalty" in line)
    assert all(line["penalty"] > 0 for line in held if "penalty" in line)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_saves_and_loads_with_plain_peft(family: str, models_dir: Path, tmp_path: Path) -> None:
    path = make_model(models_dir / family, family)
    lora = Lora(targets="all")
    model, log = trained(tmp_path / "run", path, Penalty(lam=0.02), lora, gradient_checkpointing=family == "qwen2")
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(path), tmp_path / "adapter")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        assert torch.equal(again.eval()(input_ids=ids).logits, expected)
        merged = again.merge_and_unload()(input_ids=ids).logits
    torch.testing.assert_close(merged, expected, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(path)(input_ids=ids).logits
    assert (base - expected).abs().max() > 1e-3


def test_a_diverging_loss_stops_with_the_step(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(FlexError, match=r"the loss is nan at step"):
        trained(tmp_path, small_model, Penalty(), learning_rate=1e38, max_steps=5, logging_nan_inf_filter=False)
