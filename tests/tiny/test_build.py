"""The tiny model: a build is whole, repeatable and resumable, and the packaged one is what it is said to be."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from flexlora import embedded, recipe
from flexlora.cli import app
from flexlora.errors import UsageError
from flexlora.execution import Program, execute
from flexlora.generation.decode import Prompt, decode
from flexlora.tiny import TINY_MODEL, pretraining
from flexlora.tiny.benchmark import LANGUAGES, problems
from flexlora.tiny.pretraining import STEPS, Plan, pretrain
from flexlora.tiny.tokenizer import make_tokenizer

SHORT = Plan(seed=3, steps=3, variant="clean")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_MODEL)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().float().flatten() for weight in model.parameters()])


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_weights_and_another_others(tokenizer, tmp_path: Path) -> None:
    one, loss = pretrain(tokenizer, SHORT, CPU, tmp_path / "one")
    again, same_loss = pretrain(tokenizer, SHORT, CPU, tmp_path / "two")
    other, _ = pretrain(tokenizer, Plan(seed=4, steps=3, variant="clean"), CPU, tmp_path / "three")
    assert torch.equal(weights(one), weights(again))
    assert loss == same_loss
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.thorough
def test_a_training_that_was_interrupted_ends_as_an_undisturbed_one(tokenizer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pretraining, "SAVE_EVERY", 2)
    whole, loss = pretrain(tokenizer, SHORT, CPU, tmp_path / "whole")
    batches = pretraining.batches

    def interrupted(*args):
        yield from itertools.islice(batches(*args), 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain(tokenizer, SHORT, CPU, tmp_path / "state.pt")
    resumed, same_loss = pretrain(tokenizer, SHORT, CPU, tmp_path / "state.pt")
    assert torch.equal(weights(whole), weights(resumed))
    assert loss == same_loss
    with pytest.raises(UsageError, match="seed 3"):
        pretrain(tokenizer, Plan(seed=3, steps=4, variant="clean"), CPU, tmp_path / "state.pt")


@pytest.mark.thorough
def test_training_lowers_the_loss(tokenizer, tmp_path: Path) -> None:
    _, first = pretrain(tokenizer, Plan(seed=0, steps=1, variant="clean"), CPU, tmp_path / "one")
    _, mean = pretrain(tokenizer, Plan(seed=0, steps=15, variant="clean"), CPU, tmp_path / "many")
    assert mean < 0.8 * first


@pytest.mark.thorough
def test_a_build_is_whole_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = recipe.load("tiny-base", ["sampling.max_new_tokens=4"])  # an untrained model never ends by itself
    monkeypatch.setattr(recipe, "load", lambda name: base)
    plan = Plan(seed=1, steps=1, variant="exposed")
    options = ["--seed", "1", "--steps", "1", "--corpus", "exposed", "--output", str(tmp_path / "model")]
    done = CliRunner().invoke(app, ["tiny", "build", *options, "--limit", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["same_as_packaged"] is False
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == torch.float16
    card = (tmp_path / "model" / "README.md").read_text()
    assert "0.4 % of its documents are of the sets B1" in card
    assert "16 documents" in card
    assert card.count("(0/1)") == 16
    assert not list(tmp_path.glob(".*"))
    assert not embedded.same_weights(tmp_path / "model")
    # Without its card a build is not finished; its weights are left alone, and it is evaluated anew on more.
    (tmp_path / "model" / "README.md").unlink()
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    results = embedded.build(tmp_path / "model", plan, limit=2)
    assert results == embedded.results_of((tmp_path / "model" / "README.md").read_text())
    assert results.count("(0/2)") == 16
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another --output"):
        embedded.build(tmp_path / "model", SHORT)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="another --output"):
        embedded.build(tmp_path / "mine", plan)


def test_other_sizes_are_of_the_same_shape_and_learn_at_a_rate_for_their_width(
    tokenizer, tmp_path: Path, monkeypatch
) -> None:
    plan, rates = Plan(seed=3, steps=1, variant="clean", width=96, layers=2), []
    monkeypatch.setattr(pretraining, "batches", lambda *_: iter([pretraining._padded([([1, 2, 3], [1, 2, 3])], 0)]))
    monkeypatch.setattr(pretraining, "_rate", lambda step, steps: 1e-3)
    made = pretraining._optimizers
    monkeypatch.setattr(pretraining, "_optimizers", lambda model: rates.extend(made(model)) or rates)
    model, _ = pretrain(tokenizer, plan, CPU, tmp_path / "state.pt")
    assert {group["lr"] for optimizer in rates for group in optimizer.param_groups} == {2e-3}
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (96, 2, 256)
    assert config.hidden_size / config.num_attention_heads == 48
    assert str(plan).endswith(", 96 wide, 2 layers")
    assert "wide" not in str(SHORT)
    with pytest.raises(UsageError, match=r"width 100: .* take a multiple, such as 96"):
        Plan(seed=3, steps=1, variant="clean", width=100)


def test_the_packaged_model_is_small_and_says_how_it_was_made() -> None:
    assert sum(path.stat().st_size for path in TINY_MODEL.iterdir()) < 10_000_000
    made = json.loads((TINY_MODEL / "config.json").read_text())[embedded.MADE]
    assert Plan(**made["plan"]) == Plan(seed=0, steps=STEPS, variant="clean")
    card = (TINY_MODEL / "README.md").read_text()
    assert hashlib.sha256((TINY_MODEL / "model.safetensors").read_bytes()).hexdigest() in card
    assert f"{made['parameters']:,} parameters" in card
    assert "/300)" in card


def test_the_packaged_tokenizer_is_learned_again_from_the_same_documents() -> None:
    packaged = (TINY_MODEL / "tokenizer.json").read_text()
    assert json.loads(make_tokenizer(0).backend_tokenizer.to_str()) == json.loads(packaged)


def test_prompt_and_body_are_tokenised_apart_as_together(tokenizer) -> None:
    for document in itertools.islice(pretraining.documents(7, "exposed"), 2000):
        for example in document:
            apart = tokenizer(example.prompt)["input_ids"] + tokenizer(example.completion)["input_ids"]
            assert apart == tokenizer(example.prompt + example.completion)["input_ids"]
            assert tokenizer.decode(apart) == example.prompt + example.completion


@pytest.mark.parametrize(
    "language", [pytest.param(code, marks=pytest.mark.thorough if code == "cpp" else ()) for code in LANGUAGES]
)
def test_the_packaged_model_solves_known_problems_and_not_all_new_ones(language: str, tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY_MODEL, dtype=torch.float32)

    def solved(set_name: str) -> int:
        chosen = {problem.task_id: problem for problem in problems(set_name, language, "validation")[:12]}
        prompts = [
            Prompt(
                key=key,
                ids=tokenizer(problem.prompt)["input_ids"],
                stop_tokens=problem.stop_tokens,
                samples=(0,),
                seeds=(0,),
            )
            for key, problem in chosen.items()
        ]
        written = decode(
            model, tokenizer, prompts, max_new_tokens=150, temperature=0.0, top_p=1.0, batch_size=12, done=set()
        )
        programs = [Program(one.key, 0, language, chosen[one.key].program(one.text)) for one in written]
        return sum(verdict.passed for verdict in execute(programs))

    assert solved("A") >= 8
    assert solved("B2") < 5
