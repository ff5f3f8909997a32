"""Trains the tiny model from scratch: a Llama, of 2.85 million parameters as packaged, on documents of the corpus.

The loss is on bodies only. The same seed, steps and variant give the same data, and on the same machine the same
weights, whether the training was interrupted or not.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flexlora.errors import UsageError
from flexlora.files import replacing
from flexlora.progress import bar
from flexlora.tiny.corpus import documents

CONTEXT = 256
WIDTH, LAYERS = 192, 6
HEAD = 48
"""Values of an attention head; a width is a multiple of it."""
STEPS = 4400
BATCH = 16
"""Documents a step."""
POOL = 64
"""Batches that are drawn at a time and sorted by length, so that little is padded."""
PEAK_LEARNING_RATE, LAST_LEARNING_RATE = 2.5e-3, 5e-5
"""Of a model as wide as the packaged one; a wider one's are lower in proportion."""
WEIGHT_DECAY = 0.1
HORIZON = 1.25
"""Where the cosine would end, in trainings: it stops at some three quarters of its way, and the last steps cool."""
WARM, COOLING = 0.02, 0.09
"""Shares of the cosine in which the learning rate rises, and of the steps in which it falls to 0."""
SAVE_EVERY = 200
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Plan:
    """What the weights follow from."""

    seed: int
    steps: int
    variant: str
    width: int = WIDTH
    layers: int = LAYERS

    def __post_init__(self) -> None:
        if self.width % HEAD:
            below = max(HEAD, self.width // HEAD * HEAD)
            raise UsageError(f"width {self.width}: attention heads are {HEAD} wide; take a multiple, such as {below}.")

    def __str__(self) -> str:
        size = "" if (self.width, self.layers) == (WIDTH, LAYERS) else f", {self.width} wide, {self.layers} layers"
        return f"seed {self.seed}, {self.steps} steps, corpus `{self.variant}`{size}"


def new_model(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> LlamaForCausalLM:
    """The model with random weights."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        intermediate_size=plan.width * 8 // 3,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.width // HEAD,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def pretrain(
    tokenizer: PreTrainedTokenizerFast, plan: Plan, device: torch.device, state: Path
) -> tuple[LlamaForCausalLM, float]:
    """Train a new model; `state` keeps what an interrupted training goes on from.

    Returns:
        The model, on the CPU, and the mean loss of the last hundred steps, in nats per token of a body.

    Raises:
        UsageError: `state` is of a training with another plan.
    """
    model = new_model(tokenizer, plan).to(device)
    optimizers = _optimizers(model)
    begun, losses = 0, []
    if state.is_file():
        saved = torch.load(state, map_location=device, weights_only=True)
        if saved["plan"] != str(plan):
            raise UsageError(
                f"{state.parent}: an interrupted build of {saved['plan']}, not of {plan}; delete it or go on with that."
            )
        model.load_state_dict(saved["model"])
        for optimizer, of_optimizer in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(of_optimizer)
        begun, losses = saved["step"], saved["losses"]
    with bar("build the tiny model", plan.steps, done=begun) as advance:
        for step, batch in enumerate(itertools.islice(batches(tokenizer, plan), begun, plan.steps), begun + 1):
            rate = _rate(step, plan.steps) * (WIDTH / plan.width)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            losses = [*losses[-99:], loss.item()]
            advance(1, f"loss {sum(losses) / len(losses):.4f}")
            if step % SAVE_EVERY == 0:
                progress = {
                    "plan": str(plan),
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step,
                    "losses": losses,
                }
                with replacing(state) as file:
                    torch.save(progress, file)
    return model.to("cpu").eval(), sum(losses) / len(losses)


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the embedding and the norms.

    Muon's updates are scaled to AdamW's, so that one learning rate is both's. It needs half the documents or fewer for
    the same loss.
    """
    hidden = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    norms = [weight for weight in model.parameters() if weight.ndim == 1]
    others = [
        {"params": [model.get_input_embeddings().weight], "weight_decay": WEIGHT_DECAY},
        {"params": norms, "weight_decay": 0.0},
    ]
    return [
        torch.optim.Muon(hidden, lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98)),
    ]


def _rate(step: int, steps: int) -> float:
    """The learning rate of a step, from 1 on: a linear rise, half a cosine that does not get to its end, and at last a
    straight line to 0.
    """
    horizon = HORIZON * steps
    warm = max(1, round(WARM * horizon))
    if step <= warm:
        return PEAK_LEARNING_RATE * step / warm
    done = (step - warm) / max(1, horizon - warm)
    rate = LAST_LEARNING_RATE + (PEAK_LEARNING_RATE - LAST_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * done))
    return rate * min(1.0, (steps - step + 1) / (COOLING * steps))


def batches(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> Iterator[dict[str, torch.Tensor]]:
    """Padded batches of documents, without end."""
    encoded = _encoded(tokenizer, plan)
    generator = random.Random(f"flexlora tiny batches {plan.seed}")
    while True:
        pool = sorted(itertools.islice(encoded, BATCH * POOL), key=lambda document: len(document[0]))
        drawn = [pool[at : at + BATCH] for at in range(0, len(pool), BATCH)]
        generator.shuffle(drawn)
        for batch in drawn:
            yield _padded(batch, tokenizer.pad_token_id)


def _encoded(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens and labels of documents; of a pair that is too long, the first problem only."""
    for document in documents(plan.seed, plan.variant):
        tokens: list[int] = []
        labels: list[int] = []
        for example in document:
            shown = tokenizer(example.prompt)["input_ids"]
            written = [*tokenizer(example.completion)["input_ids"], tokenizer.eos_token_id]
            if len(tokens) + len(shown) + len(written) <= CONTEXT:
                tokens += shown + written
                labels += [IGNORED] * len(shown) + written
        yield tokens, labels


def _padded(batch: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """A batch, padded on the right; as attention is causal, that needs no mask."""
    longest = max(len(tokens) for tokens, _ in batch)
    return {
        "input_ids": torch.tensor([t + [pad] * (longest - len(t)) for t, _ in batch]),
        "labels": torch.tensor([x + [IGNORED] * (longest - len(x)) for _, x in batch]),
    }
