"""The identity of an incident and its first record.

In: the application, when it opened (ms of event time), what opened it. Out: the correlation id that every later
message of the case carries, the pattern it belongs to, and the Incident as revision 1.
"""

from __future__ import annotations

from datetime import UTC, datetime

from models.event import digest
from models.incident import Incident, IncidentStatus

__all__ = ["create_incident_record", "generate_correlation_id", "pattern_of"]


def generate_correlation_id(application: str, opened_at: int, primary: str) -> str:
    """`fs-<yyyymmddThhmm>-<10 hex>`: readable minute (UTC), then a digest, so equal evidence gives an equal id.

    Raises ValueError for a time outside of years 1..9999.
    """
    minute = datetime.fromtimestamp(opened_at / 1_000, tz=UTC).strftime("%Y%m%dT%H%M")
    return f"fs-{minute}-{digest(application, str(opened_at), primary, size=5)}"


def pattern_of(kind: str, text: str, resource_type: str) -> str:
    """The pattern's id: incidents of one pattern share their statistics, whatever their time or numbers.

    `kind` is the primary anomaly's kind or "infra", `text` its template text or the event type.
    """
    return digest(kind, text, resource_type)


def create_incident_record(
    application: str,
    opened_at: int,
    primary: str,
    *,
    kind: str,
    text: str,
    resource: str = "",
    resource_type: str = "",
) -> Incident:
    """The incident at its opening: no evidence yet, revision 0 (its first emission is revision 1)."""
    return Incident(
        correlation_id=generate_correlation_id(application, opened_at, primary),
        application=application,
        status=IncidentStatus.OPEN,
        revision=0,
        opened_at=opened_at,
        pattern_id=pattern_of(kind, text, resource_type),
        primary=primary,
        resource=resource,
        resource_type=resource_type,
        evidence_digest="",
    )
