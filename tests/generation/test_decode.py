import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora.errors import FlexError, UsageError
from flexlora.generation import Prompt, decode
from flexlora.generation.streams import Stream
from small_models import FAMILIES, make_model

TEXTS = ["def double(x):", "for i in range(10):\n    total", "class Problem {\n", "x", "    return 2 * x\n" * 4]


def load(models_dir: Path, family: str) -> tuple[object, object]:
    folder = make_model(models_dir / family, family)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def prompts(tokenizer: object, n: int = 1, stops: tuple[str, ...] = ()) -> list[Prompt]:
    return [
        Prompt(
            key=f"p{i}",
            ids=tokenizer(text)["input_ids"],
            stop_tokens=stops,
            samples=tuple(range(n)),
            seeds=tuple(100 * i + j for j in range(n)),
        )
        for i, text in enumerate(TEXTS)
    ]


def decoded(model: object, tokenizer: object, asked: list[Prompt], **options: object) -> dict[tuple[str, int], str]:
    options = {"max_new_tokens": 24, "temperature": 0.0, "top_p": 1.0, "batch_size": 8} | options
    return {(c.key, c.sample): c.text for c in decode(model, tokenizer, asked, **options)}


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_batches_equal_transformers_generate_one_prompt_at_a_time(family: str, models_dir: Path) -> None:
    model, tokenizer = load(models_dir, family)
    ours = decoded(model, tokenizer, prompts(tokenizer), batch_size=3)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)[0]
        whole = tokenizer.decode([t for t in out.tolist() if t != tokenizer.eos_token_id and t != 2])
        assert ours[f"p{i}", 0] == whole[len(text) :]


@pytest.mark.parametrize("options", [{"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7}])
def test_samples_depend_on_their_seed_and_not_on_the_batch(options: dict[str, float], models_dir: Path) -> None:
    model, tokenizer = load(models_dir, "llama")
    asked = prompts(tokenizer, n=3)
    one = decoded(model, tokenizer, asked, batch_size=1, **options)
    many = decoded(model, tokenizer, list(reversed(asked)), batch_size=16, **options)
    assert one == many
    assert len(set(one.values())) > len(TEXTS)


def test_completions_end_before_the_earliest_stop_token(models_dir: Path) -> None:
    model, tokenizer = load(models_dir, "llama")
    free = decoded(model, tokenizer, prompts(tokenizer))
    stops = tuple({text[3:5] for text in free.values()})
    for completion in decode(
        model, tokenizer, prompts(tokenizer, stops=stops), max_new_tokens=24, temperature=0, top_p=1, batch_size=2
    ):
        whole = free[completion.key, 0]
        assert completion.text == whole[: min(at for stop in stops if (at := whole.find(stop)) >= 0)]
        assert completion.finish_reason == "stop"


def test_the_context_ends_a_completion_and_a_prompt_that_fills_it_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "short", "llama", context=16)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    short = Prompt(key="short", ids=[5] * 10, stop_tokens=(), samples=(0,), seeds=(0,))
    (done,) = decode(model, tokenizer, [short], max_new_tokens=100, temperature=0, top_p=1, batch_size=1)
    assert done.finish_reason == "length"
    full = Prompt(key="full", ids=[5] * 16, stop_tokens=(), samples=(0,), seeds=(0,))
    with pytest.raises(UsageError, match="full: its prompt has 16 tokens"):
        list(decode(model, tokenizer, [full], max_new_tokens=1, temperature=0, top_p=1, batch_size=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_sequences_may_fill_the_context_at_different_times(family: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / family, family, context=64)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = [
        Prompt(key=f"p{i}", ids=[5] * length, stop_tokens=(), samples=(0,), seeds=(i,))
        for i, length in enumerate((60, 5, 5, 5, 6, 7, 8, 9))
    ]
    model.generation_config.eos_token_id = None
    together = decoded(model, tokenizer, asked, max_new_tokens=40)
    assert together == decoded(model, tokenizer, asked, max_new_tokens=40, batch_size=1)


def test_a_resumed_decoding_makes_the_same_batches(models_dir: Path) -> None:
    model, tokenizer = load(models_dir, "llama")
    model = model.to(torch.bfloat16)  # type: ignore[attr-defined]
    asked, options = prompts(tokenizer, n=3), {"temperature": 0.8, "batch_size": 4}
    whole = decoded(model, tokenizer, asked, **options)
    for kept in (3, 4, 7):
        done = dict(list(whole.items())[:kept])
        rest = decoded(model, tokenizer, asked, done=set(done), **options)
        assert done | rest == whole
        assert not done.keys() & rest.keys()


def test_output_that_is_not_a_number_and_empty_prompts_are_refused(models_dir: Path) -> None:
    model, tokenizer = load(models_dir, "llama")
    empty = Prompt(key="p", ids=[], stop_tokens=(), samples=(0,), seeds=(0,))
    with pytest.raises(UsageError, match="no tokens"):
        decoded(model, tokenizer, [empty])
    model.lm_head.weight.data[3] = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(FlexError, match="not a number"):
        decoded(model, tokenizer, prompts(tokenizer))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_log_probabilities_are_the_models_own_over_all_tokens_drawn(
    temperature: float, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load(models_dir, "llama")
    drawn: list[tuple[list[int], list[int]]] = []

    class Recorded(Stream):
        def __init__(self, tokenizer: object, prompt_ids: list[int], *rest: object) -> None:
            super().__init__(tokenizer, prompt_ids, *rest)
            drawn.append((list(prompt_ids), []))
            self.drawn = drawn[-1][1]

        def push(self, token: int) -> bool:
            self.drawn.append(token)
            return super().push(token)

    monkeypatch.setattr(sys.modules["flexlora.generation.decode"], "Stream", Recorded)
    asked = prompts(tokenizer, n=2 if temperature else 1, stops=("e",))
    options = {"max_new_tokens": 16, "temperature": temperature, "top_p": 0.9, "batch_size": 3}
    found = sorted((c.tokens, c.logprob) for c in decode(model, tokenizer, asked, **options))
    expected = []
    for prompt, ids in drawn:
        with torch.inference_mode():
            logprobs = model(torch.tensor([prompt + ids])).logits[0].log_softmax(dim=-1)
        at = range(len(prompt), len(prompt) + len(ids))
        expected.append((len(ids), sum(float(logprobs[i - 1, token]) for i, token in zip(at, ids, strict=True))))
    assert [tokens for tokens, _ in found] == sorted(tokens for tokens, _ in expected)
    assert len({tokens for tokens, _ in found}) > 1  # some ended early, and left the batch
    torch.testing.assert_close(
        torch.tensor([logprob for _, logprob in found]),
        torch.tensor([logprob for _, logprob in sorted(expected)]),
        rtol=1e-5,
        atol=1e-3,
    )
