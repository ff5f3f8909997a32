"""What trains with what: the one table of combinations that are supported or refused, and why.

A setting is a value on each axis: optimizer, kind of adapter, device, precision, quantisation of the base, kernels,
parallelism, view of the penalty. `RULES` is read from the top, and the first rule that fits a setting decides.
Preflight, the mixins and the loading of models refuse by these rules and in their words (`require`); `flexlora doctor
--matrix` and the documentation print them. This module knows no other part of the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flexlora.errors import UsageError

AXES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adamw", "sophia"),
    "adapter": ("lora", "rslora", "dora"),
    "device": ("cpu", "cuda"),
    "precision": ("float32", "bfloat16", "float16"),
    "quantisation": ("none", "nf4", "other"),
    "kernels": ("eager", "torch.compile", "Liger"),
    "parallelism": ("one process", "DDP", "FSDP2", "tensor", "context", "FSDP1", "DeepSpeed"),
    "view": ("factors", "rows", "delta"),
}
"""Axis -> its values. `precision` is of the base weights, or, with `nf4`, of their products; `context` spreads the
positions of a text over ranks; `view` is also what is measured where lambda is 0."""

Support = Literal["yes", "unverified", "python", "no"]
MEANING: dict[Support, str] = {
    "yes": "recipes and Python",
    "unverified": "recipes and Python, unverified",
    "python": "Python only",
    "no": "refused",
}
"""`Python` is the mixins for trainers, and loops of your own."""
Setting = Mapping[str, str]
"""Axis -> value; axes that are not known yet are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for all settings with these values."""

    where: Mapping[str, tuple[str, ...]]
    """Axis -> the values that it is about; axes that are left out may have any."""
    support: Support
    why: str
    instead: str = ""
    """What to do in place of it, where something is refused."""

    def fits(self, setting: Setting) -> bool:
        """Whether it is about this setting; never while an axis that it asks for is not known."""
        return all(setting.get(axis) in values for axis, values in self.where.items())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        where = {axis: list(values) for axis, values in self.where.items()}
        return {"where": where, "support": self.support, "why": self.why, "instead": self.instead}


RULES = (
    Rule(
        where={"parallelism": ("DeepSpeed",)},
        support="no",
        why="it steps inside `backward`, which leaves no moment for the Fourier penalty's gradient, nor for Sophia's "
        "estimate",
        instead="use DDP (torchrun), or FSDP2 to shard the model (fsdp=True, or `fsdp_version: 2` in Accelerate's "
        "config)",
    ),
    Rule(
        where={"parallelism": ("FSDP1",)},
        support="no",
        why="it flattens LoRA's factors into one parameter with others",
        instead="use FSDP2 (fsdp_config={'version': 2}, or `fsdp_version: 2` in Accelerate's config) or DDP",
    ),
    Rule(
        where={"device": ("cpu",), "precision": ("float16",)},
        support="no",
        why="float16 trains on a GPU only, as its loss scaling needs one",
        instead="use --set precision=float32 (or bfloat16, or auto)",
    ),
    Rule(
        where={"kernels": ("Liger",), "device": ("cpu",)},
        support="no",
        why="its kernels are Triton's, which need a GPU",
        instead="leave use_liger_kernel out",
    ),
    Rule(
        where={"optimizer": ("sophia",), "parallelism": ("context",)},
        support="no",
        why="the estimate runs the model without labels, and each rank would shift those of its own part of a text",
        instead="use FSDP2 or DDP with whole texts on each rank (cp_size 1 in the ParallelismConfig), or AdamW",
    ),
    Rule(
        where={"optimizer": ("sophia",), "parallelism": ("tensor",)},
        support="python",
        why="in a loop of your own, whose estimate gets the ranks that share the data as `group`; the mixin does not "
        "pass one",
        instead="train with one process, or in a loop of your own",
    ),
    Rule(
        where={"adapter": ("dora",), "parallelism": ("FSDP2", "tensor", "context")},
        support="python",
        why="PEFT takes the lengths of whole rows, and no test has sharded them",
        instead="train with one process or with DDP, or without lora.use_dora",
    ),
    Rule(
        where={"quantisation": ("nf4",), "parallelism": ("FSDP2", "tensor", "context")},
        support="python",
        why="packed weights are no matrices that could be cut into shards, and no test has tried",
        instead="train with one process or with DDP, or leave quantization out",
    ),
    Rule(
        where={"parallelism": ("tensor", "context")},
        support="python",
        why="recipes train with one process, with DDP, each process with the whole base, or with FSDP2, each with a "
        "part of it",
        instead="start flexlora with torchrun, with train.sharding=fsdp2 for a base that is too large for a GPU; or "
        "train with the mixins or a loop of your own",
    ),
    Rule(
        where={"kernels": ("Liger",)},
        support="python",
        why="TRL is about to remove use_liger_kernel and refuses Liger's fused loss, recipes have a loss of their own, "
        "and no test has run the other kernels",
        instead="leave it out",
    ),
    Rule(
        where={"kernels": ("torch.compile",)},
        support="python",
        why="it wants one length, and batches differ: on a processor the embedded model had not compiled for a second "
        "length after 3 minutes (padded; 5 without padding), and at a single one its steps were no faster (0.42 s "
        "compiled, 0.31 s not); on a GPU nobody has tried",
        instead="leave it out",
    ),
    Rule(
        where={"quantisation": ("other",)},
        support="python",
        why="the factors of quantised layers are plain ones, so penalty and optimizer work on them; but such a base is "
        "not merged, and evaluating it is not tested",
        instead="name the unquantised model that it was made from as `model`, with quantization: nf4 where memory is "
        "short",
    ),
    Rule(
        where={"quantisation": ("nf4",), "parallelism": ("DDP",)},
        support="unverified",
        why="each process packs the whole base for itself, and the tests have not run several of them",
    ),
    Rule(
        where={"device": ("cpu",), "parallelism": ("FSDP2",)},
        support="yes",
        why="in a recipe by train.sharding=fsdp2; two processes train as one in the tests. Generation does not shard: "
        "each process holds the whole base",
    ),
    Rule(
        where={
            "optimizer": ("adamw",),
            "adapter": ("lora",),
            "device": ("cuda",),
            "precision": ("bfloat16",),
            "quantisation": ("none",),
            "parallelism": ("one process",),
            "view": ("factors",),
        },
        support="yes",
        why="trained the shape of a 7B model on an H200 to TRL's losses (benchmarks/RESULTS.md)",
    ),
    Rule(
        where={"device": ("cuda",)},
        support="unverified",
        why="written for it, and the tests have not run on a GPU yet; loss scaling is tested with a scaler on the CPU",
    ),
    Rule(where={}, support="yes", why="the tests run each of these values, though not each combination"),
)


def rule_of(setting: Setting) -> Rule:
    """The first rule that fits; for a setting that lacks axes, the first that fits whatever they are."""
    return next(rule for rule in RULES if rule.fits(setting))


def require(by: Literal["recipe", "python"], found: str = "", **setting: str) -> None:
    """Refuse a setting that a rule refuses; axes that are not known yet may be left out.

    Args:
        by: who wants it: a recipe, or a trainer or loop in Python.
        found: what showed it, e.g. `WORLD_SIZE is 2`; by default the value that the rule is about.

    Raises:
        UsageError: with the rule's reason, and what to do instead.
    """
    rule = rule_of(setting)
    if rule.support in ("yes", "unverified") or (rule.support == "python" and by == "python"):
        return
    subject = found or " with ".join(setting[axis] for axis in rule.where)
    raise UsageError(f"{subject}: {rule.why}; {rule.instead}.")


def settings() -> Iterator[dict[str, str]]:
    """Every combination of the axes' values."""
    for values in itertools.product(*AXES.values()):
        yield dict(zip(AXES, values, strict=True))


def matrix() -> dict[str, Any]:
    """The whole matrix as plain values: axes, the rules in order, and every combination with its rule's number."""
    combinations = []
    for setting in settings():
        rule = rule_of(setting)
        combinations.append({**setting, "support": rule.support, "rule": RULES.index(rule)})
    return {
        "axes": {axis: list(values) for axis, values in AXES.items()},
        "meaning": dict(MEANING),
        "rules": [rule.as_dict() for rule in RULES],
        "combinations": combinations,
    }


def rows() -> list[tuple[str, str, str]]:
    """The rules as cells of a table: the values that each is about, its support in words, the reason and the remedy."""
    table = []
    for rule in RULES:
        where = "; ".join(f"{axis}: {' or '.join(values)}" for axis, values in rule.where.items())
        words = f"{rule.why}; {rule.instead}" if rule.instead else rule.why
        table.append((where or "everything else", MEANING[rule.support], words))
    return table
