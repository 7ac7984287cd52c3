"""Publishing the catalog: on its own topic, and in every inbox whose step decides by it.

In: the configured catalog and a log. Out: one event, in every partition of those inboxes: configuration reaches steps
in no other way, so a decision can be made again from the log.
"""

from __future__ import annotations

from typing import Final, Protocol

from connectors.codec import decode_record, encode
from connectors.ports import Log, Outbound, Record
from models.catalog import Catalog
from models.errors import ContractError
from models.event import Event, digest
from models.topics import TOPICS

__all__ = ["CATALOG_PARTITION", "CatalogLog", "publish_catalog", "standing_version", "version_of"]

_KEY = "catalog"
CATALOG_PARTITION: Final = 0
"""Where it stands on its own topic, whatever its key."""


class CatalogLog(Log, Protocol):
    """A log that can tell what stands on a compacted topic."""

    def newest(self, topic: str, key: str) -> Record | None:
        """The newest record of `key`, or None."""
        ...


def publish_catalog(log: CatalogLog, catalog: Catalog, now: int, *, at_once: bool = True, run: str = "") -> bool:
    """Append the catalog to its topic and to every inbox that takes it, unless it stands there; True where it did.

    `run`: the deployment, as in the envelope. `at_once`: the log appends all or nothing. Where it does not, the
    catalog's own topic comes last: what stands there has reached every inbox, and after a failure in between the same
    is said again, which changes nothing.
    """
    version = version_of(catalog)
    if standing_version(log) == version:
        return False
    data = catalog.model_copy(update={"version": version})
    event = Event(id=digest(_KEY, version), at=now, key=_KEY, data=data, run=run)
    value = encode(event)
    own = Outbound("catalog", _KEY, value, CATALOG_PARTITION, now)
    inboxes = [topic.name for topic in TOPICS.values() if topic.inbox_of and "catalog" in topic.types]
    copies = [Outbound(name, _KEY, value, part, now) for name in inboxes for part in range(log.partitions(name))]
    for batch in [[own, *copies]] if at_once else [copies, [own]]:
        log.append(batch, now)
    return True


def version_of(catalog: Catalog) -> str:
    """The name that a catalog with this content is published under."""
    return digest(catalog.model_copy(update={"version": ""}).model_dump_json())


def standing_version(log: CatalogLog) -> str:
    """The version of the catalog that was published last, "" where there is none that can be read."""
    last = log.newest("catalog", _KEY)
    if last is None:
        return ""
    try:
        data = decode_record(last).data
    except ContractError:  # a stranger's, or of a later version: it is replaced
        return ""
    return data.version if isinstance(data, Catalog) else ""
