"""The `kafka:` section of the configuration: which brokers, how to reach them, and what everything there is called."""

from __future__ import annotations

from pydantic import Field

from models.event import Model

__all__ = ["KafkaSettings"]


class KafkaSettings(Model):
    """How to reach Kafka and what this deployment's topics and groups are called. `prefix` comes before every name, so
    that several deployments can share a cluster. `min_insync`: of `replication`, how many must have a record before it
    counts as written.
    """

    bootstrap_servers: tuple[str, ...] = ()
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,40}$")
    client_id: str = Field(default="foreshock", pattern=r"^[A-Za-z0-9._-]{1,60}$")
    replication: int = Field(default=1, ge=1, le=9)
    min_insync: int = Field(default=1, ge=1, le=9)
    session_seconds: float = Field(default=6.0, ge=6.0, le=300.0)

    def topic(self, name: str) -> str:
        """What a topic of models.topics is called on the cluster."""
        return f"{self.prefix}{name}"

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.prefix}foreshock-{role}"

    def changelog(self, step: str) -> str:
        """The compacted topic that keeps a step's state."""
        return f"{self.prefix}foreshock-{step}-state"
