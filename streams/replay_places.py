"""Where a replay reads and writes: a data folder, beside whoever runs it, or the topics of a Kafka cluster.

In: a configuration. Out: a ReplayPlace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from connectors.changelog import Fence, decode_kept
from connectors.cluster_log import ClusterLog
from connectors.folder_log import FolderLog
from connectors.kafka_probe import check_brokers
from connectors.ports import Entry, UnitName
from connectors.settings import Configuration
from connectors.shared_log import SharedLog
from models.errors import BrokerError, DataFolderError, UpgradeError
from models.event import digest
from streams.replay_plan import ReplayPlace

__all__ = ["FolderPlace", "KafkaPlace", "open_place"]

_PAGE: Final = 1_000


class FolderPlace:
    """A data folder that another process may be running. Raises DataFolderError where there is none."""

    def __init__(self, path: Path) -> None:
        self._folder = FolderLog(path, append=True)
        self._path = path.resolve()
        self.log: SharedLog = self._folder

    def log_name(self, topic: str) -> str:  # noqa: ARG002 - the protocol's name
        """See ReplayPlace. A copy of a folder has the same name inside, and another path."""
        return digest(self.log.run, str(self._path))

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """See ReplayPlace."""
        return self._folder.store.entries(unit)


class KafkaPlace:
    """A cluster's topics. Raises BrokerError (exit 69) within seconds where no broker answers."""

    def __init__(self, configuration: Configuration) -> None:
        self._settings = configuration.settings.kafka
        check_brokers(self._settings)
        self._cluster = ClusterLog(configuration)
        self.log: SharedLog = self._cluster

    def log_name(self, topic: str) -> str:
        """See ReplayPlace. A topic that was deleted and made anew is another one."""
        return digest(self._cluster.log_id(topic))

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """See ReplayPlace. None where this client may not read the step's changelog, or where there is none yet."""
        found: dict[str, Entry] = {}
        with suppress(BrokerError, UpgradeError):
            self._read_entries(unit, found)
        return iter(found.values())

    def _read_entries(self, unit: UnitName, found: dict[str, Entry]) -> None:
        topic = self._settings.changelog(unit.step).removeprefix(self._settings.prefix)
        fence = Fence()
        at, end = self.log.bounds(topic, unit.partition)
        while at < end:
            page = self.log.read(topic, unit.partition, at, min(_PAGE, end - at))
            for record in page:
                with suppress(DataFolderError):  # a stranger's, which the step itself does not believe either
                    kept = decode_kept(record.key.encode(), record.value)
                    if fence.admit(unit.partition, record.value) and kept.entry is not None:
                        found[kept.entry.key] = kept.entry
            at = page[-1].offset + 1 if page else end


def open_place(configuration: Configuration, *, folder: bool) -> ReplayPlace:
    """The configured cluster, where one is configured and not a `folder` is meant; else the data folder."""
    if configuration.settings.kafka.bootstrap_servers and not folder:
        return KafkaPlace(configuration)
    return FolderPlace(configuration.data)
