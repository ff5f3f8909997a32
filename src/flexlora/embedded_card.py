"""The embedded model's card: what it is, how it was made, and what it scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flexlora.evaluation.intervals import bootstrap, wilson
from flexlora.evaluation.results import read_results
from flexlora.evaluation.schema import read_summary
from flexlora.report.words import language_name
from flexlora.tiny.benchmark import LANGUAGES
from flexlora.tiny.pretraining import BATCH, Plan
from flexlora.tiny.sets import SETS

MADE = "flexlora"
"""Key of `config.json` under which the build records itself."""
RESULTS = "## Results\n"

CARD = """---
license: apache-2.0
library_name: transformers
tags: [code, python, java, javascript, cpp]
---
# FLeX tiny model

A Llama of {parameters:,} parameters that writes functions of a few lines in Python, Java, JavaScript and C++, from the
one-line descriptions of FLeX's generated benchmark. It is for trying FLeX out, and for experiments on forgetting and
transfer that take minutes. It can write nothing else, and what happens to it says nothing about a large model.

{layers} layers, {hidden} wide, {heads} heads, {feed_forward} in the feed-forward, tied embeddings, {vocabulary} tokens
(byte-level BPE, digits one by one), context {context}, float16.

## How it was made

`flexlora tiny build`, version {version}: {plan};
{documents:,} documents, a fifth of them in two languages, the loss on bodies only. It ended at {loss:.4f} nats a token.
Torch {torch}, {device}, {threads}. The same plan gives the same data everywhere, and on the same machine and processor,
with as many threads, the same weights.

Trained on generated problems of known operations (set A). {exposure} of the sets B1 (new
words), B2 (new expressions) and B3 (new loops).

SHA-256 of `model.safetensors`: `{digest}`

{results_heading}
Problems of the test splits, {problems} a set, solved greedily at the first attempt: the share, how many, and its 95 %
interval (Wilson; for `all`, where each problem stands in {languages} languages, bootstrap over problems).

{table}
"""


def model_card(model: Path, run: Path) -> str:
    """The card of a model folder and the run that evaluated it, in Markdown with a YAML head."""
    config = json.loads((model / "config.json").read_bytes())
    made = config[MADE]
    summary = read_summary(run)
    plan = Plan(**made["plan"])
    return CARD.format(
        parameters=made["parameters"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        feed_forward=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        version=made["version"],
        plan=plan,
        documents=plan.steps * BATCH,
        loss=made["loss"],
        torch=made["torch"],
        device=made["device"],
        threads="1 thread" if made["threads"] == 1 else f"{made['threads']} threads",
        exposure="It has seen nothing" if plan.variant == "clean" else "0.4 % of its documents are",
        digest=hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(),
        results_heading=RESULTS.rstrip(),
        problems=max(score["problems"] for score in summary["scores"]),
        languages=len(LANGUAGES),
        table=results_table(summary, run),
    )


def results_of(card: str) -> str:
    """The results of a card, as `model_card` wrote them."""
    return card.split(RESULTS)[1].strip()


def results_table(summary: Any, run: Path) -> str:
    """Sets by languages, in Markdown; the last row is all B sets together."""
    passes = {
        (score["task"].split("/")[1], score["language"]): read_results(run / score["path"] / "results.jsonl").passes
        for score in summary["scores"]
    }
    head = ["set", *map(language_name, LANGUAGES), "all"]
    rows = [head, ["---"] * len(head)]
    for name, sets in {**{name: [name] for name in SETS}, "B1, B2, B3": list(SETS[1:])}.items():
        of_language = [[p for one in sets for p in passes[one, language].values()] for language in LANGUAGES]
        shares = [sum(values) / len(values) for values in zip(*of_language, strict=True)]
        rows.append([name, *map(_counted, of_language), _pooled(shares)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _counted(passes: Sequence[int]) -> str:
    found = wilson(sum(passes), len(passes))
    share = sum(passes) / len(passes)
    return f"{100 * share:.1f} % ({sum(passes)}/{len(passes)}) [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _pooled(shares: Sequence[float]) -> str:
    found = bootstrap(shares)
    return f"{100 * sum(shares) / len(shares):.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"
