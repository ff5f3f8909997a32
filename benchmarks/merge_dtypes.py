"""What merging costs, by dtype and rounding: on a random Llama whose update has a chosen size, or on given adapters.

    python benchmarks/merge_dtypes.py [--prompts FILE] [ADAPTER ...]

Prints one Markdown table a model. The random Llama (hidden size 512, 4 layers) is stored in bfloat16 with weights of
spread 0.05. Its adapters have rank 8 on all MLP projections; A is scaled so that the update's spread is exact.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as token_models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flexlora import models
from flexlora.adapters import add_lora, lora_pairs
from flexlora.adapters.audit import MergeAudit
from flexlora.adapters.merge import merge_adapter
from flexlora.adapters.rounding import ROUNDINGS
from flexlora.recipe import Lora

SPREADS = (1e-2, 1e-3, 1e-4, 1e-5)


def random_base(folder: Path) -> Any:
    """The random Llama, saved with a tokenizer of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["</s>", *alphabet])}
    tokenizer = Tokenizer(token_models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return model


def save_adapter(base: Path, spread: float, folder: Path) -> Path:
    """An adapter whose updates have the root mean square `spread`."""
    wrapped = add_lora(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), Lora(), seed=1)
    for pair in lora_pairs(wrapped):
        torch.nn.init.normal_(pair.B)
        pair.A.data *= spread / (pair.scaling * (pair.B @ pair.A)).square().mean().sqrt()
    wrapped.save_pretrained(folder)
    return folder


def table(audit: MergeAudit) -> str:
    """The audit as Markdown, in percent."""
    effect = audit.adapter_effect
    lines = [
        f"base in {audit.stored_dtype}, update RMS {audit.rows[0].update.update_rms:.1e}; the adapter changes "
        f"{100 * effect.next_token:.1f} % of {effect.positions} next tokens",
        "",
        "| dtype | rounding | error | kept | read | same | low rank | logits | tokens | answers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in audit.rows:
        update, said = row.update, row.disagreement
        assert said is not None
        shares = (
            update.relative_error,
            update.kept,
            update.read_error,
            update.unchanged,
            update.low_rank_share,
            said.logit_rms / effect.logit_rms,
            said.next_token,
            said.answers,
        )
        figures = (
            "–" if share is None else f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.0f}"
            for share in shares
        )
        lines.append(f"| {row.dtype} | {row.rounding} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of the adapters given, or of the random ones."""
    models.quiet()
    parser = argparse.ArgumentParser()
    parser.add_argument("adapters", nargs="*")
    parser.add_argument("--prompts", type=Path)
    given = parser.parse_args()
    if given.adapters:
        for name in given.adapters:
            print(f"\n{name}: {table(merge_adapter(name, prompts=given.prompts, measured=ROUNDINGS))}", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        random_base(Path(folder) / "base")
        for spread in SPREADS:
            saved = save_adapter(Path(folder) / "base", spread, Path(folder) / f"adapter-{spread:g}")
            print(f"\nspread {spread:g}: {table(merge_adapter(saved, measured=ROUNDINGS))}", flush=True)


if __name__ == "__main__":
    main()
