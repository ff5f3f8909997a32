"""The tiny model: its tokenizer, and that a build is whole, repeatable and loads like any other model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.errors import UsageError
from flexlora.tiny.build import build, make_tokenizer
from flexlora.tiny.problems import LANGUAGES, SETS, examples


def test_prompt_and_body_are_tokenised_apart_as_together() -> None:
    tokenizer = make_tokenizer()
    for set_name in SETS:
        for language in LANGUAGES:
            for example in examples(set_name, language, "validation"):
                apart = tokenizer(example.prompt)["input_ids"] + tokenizer(example.completion)["input_ids"]
                assert apart == tokenizer(example.prompt + example.completion)["input_ids"]
                assert tokenizer.decode(apart) == example.prompt + example.completion


def test_a_build_loads_as_any_model_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(build(tmp_path / "one", seed=3, steps=2))
    again = AutoModelForCausalLM.from_pretrained(build(tmp_path / "two", seed=3, steps=2))
    other = AutoModelForCausalLM.from_pretrained(build(tmp_path / "three", seed=4, steps=2))
    assert model.num_parameters() < 1_000_000
    assert AutoTokenizer.from_pretrained(tmp_path / "one").eos_token_id == model.config.eos_token_id
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    def last_loss(steps: int) -> float:
        card = (build(tmp_path / str(steps), steps=steps) / "README.md").read_text()
        return float(card.split("last loss ")[1].split(")")[0])

    assert last_loss(12) < 0.7 * last_loss(1)


def test_a_finished_build_is_left_alone_and_another_folder_refused(tmp_path: Path) -> None:
    built = build(tmp_path / "model", steps=1)
    weights = (built / "model.safetensors").stat().st_mtime_ns
    assert build(tmp_path / "model", steps=5) == built
    assert (built / "model.safetensors").stat().st_mtime_ns == weights
    with pytest.raises(UsageError, match="another seed"):
        build(tmp_path / "model", seed=7)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="another --output"):
        build(tmp_path / "mine")
