"""The one shape in which a model may answer, and its strict reading.

In: a ModelAnswered, the runbook ids that were offered. Out: a valid ToolAnswer, or ContractError saying why there is
no prediction. The tool's schema that a model is given is `ToolAnswer.model_json_schema()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from models.errors import ContractError
from models.event import Model
from models.prediction import ModelAnswered

__all__ = ["HORIZONS", "ToolAnswer", "read_answer"]

HORIZONS = (15, 30, 60, 240)
"""Minutes a prediction may look ahead."""


class ToolAnswer(Model):
    """How likely a failure is, and what would help. For `diagnose`: how sure the named failure mode is.

    `summary` is shown to people and read by nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    failure_probability: float = Field(ge=0.0, le=1.0)
    horizon_minutes: Literal[15, 30, 60, 240]
    failure_mode: str = Field(pattern=r"^[a-z0-9_]{0,64}$")
    runbook_id: str = Field(default="", max_length=128)
    summary: str = Field(default="", max_length=600)


def read_answer(answered: ModelAnswered, offered: Sequence[str]) -> ToolAnswer:
    """The answer, if it is one. Raises ContractError for anything but a valid answer of the forced tool."""
    if answered.stop_reason != "tool_use":
        raise ContractError("no tool answer", f"stop reason {answered.stop_reason[:40]!r}")
    try:
        answer = ToolAnswer.model_validate(answered.input)
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in item["loc"]) or "input" for item in error.errors()})
        raise ContractError("invalid tool answer", f"wrong: {', '.join(places)[:200]}") from error
    if answer.runbook_id and answer.runbook_id not in offered:
        raise ContractError("invalid tool answer", "it names a runbook that was not offered")
    return answer
