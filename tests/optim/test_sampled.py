"""The backward on sampled labels against one over the logits of all positions, written out."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from flexlora.optim import sample_labels, sampled

VOCABULARY = 50


def llama() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes))


def gemma() -> Any:
    """Logits end in tanh, and its multiple."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma2Config(
        vocab_size=VOCABULARY, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, **sizes
    )
    return Gemma2ForCausalLM(config)


def gpt2() -> Any:
    """The head's weights are the embedding's."""
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=16))


def lora(model: Any, *targets: str) -> Any:
    # Dropout before the head draws for fewer positions: there the numbers would be others.
    dropout = 0.0 if "lm_head" in targets else 0.1
    config = LoraConfig(r=3, lora_dropout=dropout, target_modules=list(targets), init_lora_weights=False)
    return get_peft_model(model, config)


class Plain(torch.nn.Module):
    """Of another making: no positions can be chosen."""

    def __init__(self, head: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(VOCABULARY, 8)
        self.head = torch.nn.Linear(8, VOCABULARY)
        self.last = head or torch.nn.Identity()

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.head(self.table(input_ids)))
        return logits


def make_batch() -> dict[str, torch.Tensor]:
    """Rows with none, some and all labels supervised."""
    ids = torch.randint(VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0] = -100
    labels[1, :9] = -100
    labels[2, 4:7] = -100
    return {"input_ids": ids, "labels": labels}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def expected(model: Any, batch: dict[str, torch.Tensor], uniform: torch.Tensor, shift: bool) -> Any:
    """All logits, a float32 copy of those asked for, labels, and autograd's cross entropy."""
    output = model(input_ids=batch["input_ids"], use_cache=False)
    logits = output if isinstance(output, torch.Tensor) else output.logits
    mask = (batch["labels"][:, 1:] if shift else batch["labels"]) != -100
    chosen = (logits[:, :-1] if shift else logits)[mask].float()
    loss = torch.nn.functional.cross_entropy(chosen, sample_labels(chosen.detach(), uniform), reduction="sum")
    (0.3 * loss).backward()
    return gradients(model)


CASES = {
    "llama": (llama, True),
    "gemma": (gemma, True),
    "gpt2": (gpt2, True),
    "lora": (lambda: lora(llama(), "down_proj"), True),
    "lora on the head": (lambda: lora(llama(), "down_proj", "lm_head"), True),
    "plain": (Plain, False),
    "plain, a head whose result autograd keeps": (lambda: Plain(torch.nn.Tanh()), False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("block", [1 << 21, 3 * VOCABULARY])
def test_gradients_are_those_over_all_positions(
    case: str, shift: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "BLOCK", block)
    torch.manual_seed(0)
    make, chooses = CASES[case]
    model, batch = make().train(), make_batch()
    mask = sampled.predicting(batch, shift)
    rows: list[int] = []
    head = next(module for name, module in model.named_modules() if name.endswith(("lm_head", "head")))
    head.register_forward_hook(lambda _, __, output: rows.append(output.shape[:-1].numel()))
    uniform = torch.rand(int(mask.sum()))
    torch.manual_seed(5)
    sampled.backward_on_samples(model, {**batch, "use_cache": False}, mask, uniform, 0.3)
    found = gradients(model)
    assert rows == [int(mask.sum()) if chooses else 48]
    torch.manual_seed(5)
    wanted = expected(model, batch, uniform, shift)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    assert any(gradient.abs().max() > 1e-2 for gradient in wanted.values())


def test_half_precision_logits_get_the_gradient_of_a_float32_copy() -> None:
    torch.manual_seed(0)
    model, batch = lora(llama().bfloat16(), "down_proj").eval(), make_batch()
    mask = sampled.predicting(batch, True)
    uniform = torch.rand(int(mask.sum()))
    sampled.backward_on_samples(model, {**batch, "use_cache": False}, mask, uniform, 0.3)
    found = gradients(model)
    for name, gradient in expected(model, batch, uniform, True).items():
        torch.testing.assert_close(found[name], gradient, rtol=0.02, atol=0.02 * float(gradient.abs().max()))


def test_a_batch_without_supervised_labels_still_runs_the_model() -> None:
    """Other ranks may wait for it."""
    batch = make_batch()
    batch["labels"][:] = -100
    for model in (llama(), Plain()):
        sampled.backward_on_samples(model, batch, sampled.predicting(batch, True), torch.rand(0), 0.3)
        assert all(not gradient.any() for gradient in gradients(model).values())


@pytest.mark.parametrize("free", [True, False])
def test_the_gradient_takes_the_memory_of_logits_that_nothing_needs(free: bool) -> None:
    weight = torch.randn(7, 5, requires_grad=True)
    logits = torch.randn(3, 7) @ weight
    logits = logits if free else logits.tanh()
    gradient = sampled._gradient(logits, torch.arange(3), torch.rand(3), 1.0)
    assert (gradient.data_ptr() == logits.data_ptr()) == free


def test_a_forward_put_in_place_of_the_model_s_is_given_what_it_knows() -> None:
    model, batch = llama(), make_batch()
    original = model.forward

    def older(self: Any, input_ids: torch.Tensor, logits_to_keep: int = 0, **others: Any) -> Any:
        assert logits_to_keep == 0
        return original(input_ids, **others)

    model.forward = types.MethodType(older, model)
    mask = sampled.predicting(batch, True)
    sampled.backward_on_samples(model, batch, mask, torch.rand(int(mask.sum())), 0.3)
    assert gradients(model)
