"""Log-likelihoods of texts, against the loss that transformers' own models return."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from flexlora import models, processes
from flexlora.data import Text
from flexlora.errors import FlexError, UsageError
from flexlora.evaluation import compare_functions
from flexlora.evaluation.schema import Side
from flexlora.files import read_appended
from flexlora.likelihood import Measured, likelihood_files, measure, measure_texts, teacher_forced
from flexlora.recipe import Likelihood, ModelSource
from small_models import FAMILIES, make_model, make_tokenizer

PROMPTS = ('"""Double x."""\n', "Write a function to add numbers.\n", "// Ünïcödé\n", "# twice\n")
BODIES = (
    "def double(x):\n    return 2 * x\n",
    "def add(a, b):\n    return a + b\n\n\n",
    "function f() { return 'é'; }\n",
    "def f(x)\n  x * 2\nend\n" * 5,
)
TEXTS = [
    Text(task="t", task_id=f"t/{i}", language="py", prompt=prompt, completion=body)
    for i, (prompt, body) in enumerate(zip(PROMPTS, BODIES, strict=True))
]


@pytest.fixture
def model(small_model: Path) -> tuple[Any, Any]:
    source = ModelSource(name=str(small_model))
    return models.load_model(source), models.load_tokenizer(source)


def by_id(found: Any) -> dict[str, Measured]:
    return {one.task_id: one for one in found}


def loss_of(model: Any, ids: list[int], start: int) -> float:
    """What transformers says of the tokens from `start` on, all of them together."""
    labels = [-100] * start + ids[start:]
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    return float(loss) * (len(ids) - start)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_loss_of_transformers_in_every_family(family: str, models_dir: Path) -> None:
    source = ModelSource(name=str(make_model(models_dir / f"measured-{family}", family)))
    loaded, tokenizer = models.load_model(source), models.load_tokenizer(source)
    for conditional in (True, False):
        found = by_id(measure(loaded, tokenizer, TEXTS, conditional=conditional, batch_tokens=200))
        assert set(found) == {text.task_id for text in TEXTS}
        for text in TEXTS:
            before = tokenizer(text.prompt)["input_ids"] if conditional else [tokenizer.eos_token_id]
            ids = before + tokenizer(text.completion)["input_ids"]  # each prompt ends with a newline: no token merges
            one = found[text.task_id]
            assert one.nll == pytest.approx(loss_of(loaded, ids, len(before)), rel=1e-5)
            assert (one.tokens, one.characters) == (len(ids) - len(before), len(text.completion))
            assert not one.cut


def test_does_not_depend_on_the_batch_or_the_pieces(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    together = by_id(measure(*model, TEXTS))
    alone = by_id(measure(*model, TEXTS, batch_tokens=1))
    monkeypatch.setattr(teacher_forced, "PIECE", 1)
    piecewise = by_id(measure(*model, TEXTS))
    for other in (alone, piecewise):
        assert other.keys() == together.keys()
        for task_id, one in together.items():
            assert other[task_id].nll == pytest.approx(one.nll, rel=1e-6)
            assert other[task_id].tokens == one.tokens


def test_the_batch_is_bounded_by_its_logits(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = teacher_forced._Forward.__call__

    def watched(self: Any, rows: Any, pad: int) -> list[float]:
        sizes.append(len(rows))
        return forward(self, rows, pad)

    monkeypatch.setattr(teacher_forced._Forward, "__call__", watched)
    list(measure(*model, TEXTS))
    monkeypatch.setattr(teacher_forced, "LARGEST", 400)  # the vocabulary: a token at once, so a row at once
    list(measure(*model, TEXTS))
    assert sizes == [4, 1, 1, 1, 1]


def test_a_long_text_is_scored_up_to_the_limit(model: tuple[Any, Any]) -> None:
    loaded, tokenizer = model
    long = TEXTS[3]
    before, after = (tokenizer(part)["input_ids"] for part in (long.prompt, long.completion))
    limit = len(before) + 9
    (one,) = measure(loaded, tokenizer, [long], max_length=limit)
    assert one.cut
    assert one.tokens == 9
    assert one.nll == pytest.approx(loss_of(loaded, before + after[:9], len(before)), rel=1e-5)
    assert one.characters == len(tokenizer.decode(after[:9]))
    (left_out,) = measure(loaded, tokenizer, [long], max_length=len(before))
    assert left_out == Measured(task_id=long.task_id, tokens=0, characters=0, nll=0.0, cut=True)


def test_the_models_context_is_a_limit_too(models_dir: Path) -> None:
    source = ModelSource(name=str(make_model(models_dir / "short", "llama", context=24)))
    (one,) = measure(models.load_model(source), models.load_tokenizer(source), [TEXTS[3]])
    assert one.cut
    assert one.tokens < 24


def test_a_text_without_prompt_is_read_after_what_begins_a_document(model: tuple[Any, Any]) -> None:
    loaded, _ = model
    text = Text(task="t", task_id="t/0", language="py", prompt="", completion=BODIES[0])
    tokenizer = make_tokenizer()
    ids = tokenizer(text.completion)["input_ids"]
    (after_eos,) = measure(loaded, tokenizer, [text])
    assert after_eos.nll == pytest.approx(loss_of(loaded, [tokenizer.eos_token_id, *ids], 1), rel=1e-5)
    # One that begins every text with a token of its own, which is read once and not scored.
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert tokenizer(text.completion)["input_ids"] == [0, *ids]
    (after_bos,) = measure(loaded, tokenizer, [text])
    assert after_bos.nll == pytest.approx(loss_of(loaded, [0, *ids], 1), rel=1e-5)
    assert after_bos.tokens == after_eos.tokens == len(ids)


def test_what_is_done_is_not_yielded_again(model: tuple[Any, Any]) -> None:
    whole = by_id(measure(*model, TEXTS, batch_tokens=120))
    rest = by_id(measure(*model, TEXTS, batch_tokens=120, done={"t/0", "t/3"}))
    assert rest == {task_id: whole[task_id] for task_id in ("t/1", "t/2")}  # to the bit


def test_an_output_that_is_no_number_is_an_error(model: tuple[Any, Any]) -> None:
    loaded, tokenizer = model
    with torch.no_grad():
        loaded.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FlexError, match="t/3: the model's output is not a number"):
        list(measure(loaded, tokenizer, TEXTS, batch_tokens=1))


def test_a_text_that_adds_no_token_is_refused(model: tuple[Any, Any]) -> None:
    empty = Text(task="t", task_id="t/9", language="py", prompt="def f():\n", completion="")
    with pytest.raises(UsageError, match="t/9: its text adds no token"):
        list(measure(*model, [empty]))


def test_several_processes_share_the_texts(
    model: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shared = likelihood_files(tmp_path / "alone"), likelihood_files(tmp_path / "shared")
    measure_texts(*model, TEXTS, Likelihood(), alone.mine, "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        measure_texts(*model, processes.mine(TEXTS), Likelihood(), shared.mine, "shared", elsewhere=shared.all)
    assert sorted(file.name for file in shared.folder.iterdir()) == ["likelihood.0.jsonl", "likelihood.1.jsonl"]
    shared.take_in()
    assert [file.name for file in shared.folder.iterdir()] == ["likelihood.jsonl"]
    monkeypatch.delenv("WORLD_SIZE")
    records = [{r["task_id"]: r for r in read_appended(files.all)} for files in (alone, shared)]
    assert records[0].keys() == records[1].keys()
    for task_id, record in records[0].items():
        assert records[1][task_id]["nll"] == pytest.approx(record["nll"], rel=1e-6)


def test_what_is_measured_is_compared_without_files(model: tuple[Any, Any]) -> None:
    loaded, tokenizer = model
    before = by_id(measure(loaded, tokenizer, TEXTS))
    with torch.no_grad():
        loaded.get_output_embeddings().weight.zero_()  # every token is as likely as any other
    after = by_id(measure(loaded, tokenizer, TEXTS))
    side: Side = {"arm": None, "variant": "base", "model": "m"}
    found = compare_functions(before, after, side, side, "t", "py")
    assert found["nats_per_token"] is not None
    total = sum(one.nll for one in before.values()) / sum(one.tokens for one in before.values())
    vocabulary = loaded.config.vocab_size
    assert found["nats_per_token"]["difference"] == pytest.approx(math.log(vocabulary) - total, rel=1e-5)
