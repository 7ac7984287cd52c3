"""The `actuator:` section of the configuration: through which door act changes things, if any.

In: the section. Out: `ActuatorSettings`; nothing is opened here. The token comes from the environment
(FORESHOCK_ACTUATOR_TOKEN), never from the file.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from models.event import Model

__all__ = ["ActuatorSettings"]


class ActuatorSettings(Model):
    """`kind` "": there is none, and every action is answered "not configured". `simulator`: the simulated cloud of
    `foreshock simulate` at `url` (`http://host:port`; its token travels in clear text, and nothing real is behind it).
    `timeout_seconds`: how long a call may take.
    """

    kind: Literal["", "simulator"] = ""
    url: str = ""
    timeout_seconds: float = Field(default=10.0, gt=0, le=300)

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            well_formed = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
        except ValueError:  # a port that is none
            well_formed = False
        if value and (not well_formed or parts.query or parts.fragment or "@" in parts.netloc):
            raise ValueError("Write http://host:port, as in http://127.0.0.1:8091")
        return value

    @model_validator(mode="after")
    def _says_where(self) -> ActuatorSettings:
        if self.kind and not self.url:
            raise ValueError("Write url, too: where `foreshock simulate` listens")
        return self
