"""A recipe: the whole configuration of a run as typed, frozen models.

A recipe is a YAML file. `load` finds it (a path, or the name of a packaged recipe), applies `--set` overrides,
and checks everything at once: unknown keys, wrong types, values out of range and contradictions between keys are
all listed in one error. This package knows no other part of `flexlora`.
"""

from flexlora.recipe.engine import Engine
from flexlora.recipe.evaluating import Execution, Prompting, PromptStyle, Repair, Sampling, Selection, Task
from flexlora.recipe.files import find, is_study, load, packaged, packaged_studies, parse_override, read_yaml
from flexlora.recipe.likelihood import Likelihood, Texts
from flexlora.recipe.schema import (
    ARM_KEYS,
    FREE_KEYS,
    GROWING_KEYS,
    Recipe,
    checked,
    differences,
    dumped,
    examined,
    from_dict,
    merged,
    with_sharding,
)
from flexlora.recipe.sections import (
    EMBEDDED,
    DataSource,
    Lora,
    ModelSource,
    Optimizer,
    Penalty,
    Precision,
    Quantization,
    Section,
    TargetPreset,
    Tokenizer,
    Train,
    absolute_if_local,
)
from flexlora.recipe.variant import Variant, strength_of

__all__ = [
    "ARM_KEYS",
    "EMBEDDED",
    "FREE_KEYS",
    "GROWING_KEYS",
    "DataSource",
    "Engine",
    "Execution",
    "Likelihood",
    "Lora",
    "ModelSource",
    "Optimizer",
    "Penalty",
    "Precision",
    "PromptStyle",
    "Prompting",
    "Quantization",
    "Recipe",
    "Repair",
    "Sampling",
    "Section",
    "Selection",
    "TargetPreset",
    "Task",
    "Texts",
    "Tokenizer",
    "Train",
    "Variant",
    "absolute_if_local",
    "checked",
    "differences",
    "dumped",
    "examined",
    "find",
    "from_dict",
    "is_study",
    "load",
    "merged",
    "packaged",
    "packaged_studies",
    "parse_override",
    "read_yaml",
    "strength_of",
    "with_sharding",
]
