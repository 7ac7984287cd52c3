"""Which log a command talks to: a data folder or a cluster.

In: what the command was given (`--data`, `--kafka`, `--config`), else the configuration. Out: an opened SharedLog, and
a remark where both could have been meant.
"""

from __future__ import annotations

from typing import NamedTuple

from connectors.folder_log import FolderLog
from connectors.kafka_settings import kafka_options
from connectors.settings import Configuration, read_settings
from connectors.shared_log import SharedLog
from connectors.where import Where
from models.errors import ConfigError, DataFolderError

__all__ = ["Opened", "configured_cluster", "open_log"]


class Opened(NamedTuple):
    """The log, and what a person should be told about the choice ("": nothing)."""

    log: SharedLog
    remark: str = ""


def open_log(where: Where, *, append: bool = False) -> Opened:
    """The folder that is named; the cluster that is named; else the configured cluster, where one is configured; else
    the configured folder. `append`: also for short appends.

    Raises ConfigError, DataFolderError; BrokerError where no broker answers.
    """
    configuration = configured_cluster(where)
    if configuration is None:
        data = where.data if where.data is not None else read_settings(where.config).data
        return Opened(FolderLog(data, where.config, append=append))
    from connectors.cluster_log import ClusterLog  # Kafka's client takes a while to import
    from connectors.kafka_probe import check_brokers

    check_brokers(configuration.settings.kafka)
    log = ClusterLog(configuration)
    remark = "" if where.kafka else _remark(configuration, log.place)
    return Opened(log, remark)


def configured_cluster(where: Where) -> Configuration | None:
    """The configuration with the cluster that is meant; None where a data folder is. Raises ConfigError where both are
    named.
    """
    if where.data is not None:
        if where.kafka:
            advice = "Give --data for a data folder, --kafka for a cluster."
            raise ConfigError("a folder and a cluster are two logs", key="--kafka", advice=advice)
        return None
    configuration = read_settings(where.config, kafka_options(where.kafka))
    return configuration if configuration.settings.kafka.bootstrap_servers else None


def _remark(configuration: Configuration, place: str) -> str:
    try:
        FolderLog(configuration.data).close()
    except DataFolderError:
        return ""
    return f"reading {place}; for the data folder give --data {configuration.data}"
