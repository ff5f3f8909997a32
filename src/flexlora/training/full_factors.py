"""`FullFactors`: the adapter's parameters stay as they are on a quantised base, which TRL would round to bfloat16.

In bfloat16 the optimizer's smaller steps are lost, and an adapter that training goes on from is not the saved one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peft import PeftModel

if TYPE_CHECKING:  # what it is mixed into
    from trl import SFTTrainer as _Base
else:
    _Base = object


class FullFactors(_Base):  # type: ignore[misc]  # TRL has no types
    """Put before `SFTTrainer`'s class; for models that come with their adapter."""

    def __init__(self, model: Any = None, *args: Any, **kwargs: Any) -> None:
        packed = isinstance(model, PeftModel) and getattr(model.config, "quantization_config", None) is not None
        values = {one: one.data for one in model.parameters() if one.requires_grad} if packed else {}
        super().__init__(model, *args, **kwargs)
        for parameter, value in values.items():
            parameter.data = value.to(parameter.device)
