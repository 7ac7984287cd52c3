"""Several local brokers as one cluster, to see what a client does when one of them is gone.

In: a folder. Out: nodes that are broker and controller in one; with three, topics have three replicas of which two must
have a record, so one node may be killed and started again while writers with acks=all go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from connectors.local_kafka import LocalBroker, new_cluster_id
from connectors.local_kafka_config import Seat, free_ports

__all__ = ["LocalCluster"]

_LEAVE_SECONDS = 2.0


class LocalCluster:
    """`nodes` brokers below `folder`; use as a context manager. `properties` and `java_options`: see LocalBroker."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        cluster_id = new_cluster_id()
        voters = dict(enumerate(free_ports(nodes), start=1))
        self.nodes = tuple(
            LocalBroker(
                folder / f"node-{node}",
                properties=properties,
                java_options=java_options,
                seat=Seat(cluster_id, node, voters),
            )
            for node in voters
        )

    @property
    def bootstrap(self) -> str:
        """The nodes' addresses, joined by commas."""
        return ",".join(node.bootstrap for node in self.nodes)

    def start(self) -> None:
        """Start those that do not run; returns when every node knows of all. Raises LocalKafkaError."""
        try:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(LocalBroker.launch, self.nodes))
            for node in self.nodes:
                node.wait_ready(brokers=len(self.nodes))
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop all. The last ones ask a controller that has no quorum any more for leave: they get two seconds."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop(_LEAVE_SECONDS)

    def kill(self) -> None:
        """SIGKILL to all."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
