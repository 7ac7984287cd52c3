"""The register of contracts: every type that may stand on a topic, by its name on the wire."""

from __future__ import annotations

from models.anomaly import Anomaly, ServiceHealth
from models.audit import AuditEntry, DeadLetter
from models.catalog import Catalog
from models.command import Command, JournalEntry, Outcome
from models.decision import Alert, Decision
from models.event import Contract
from models.history import HistoryRecalled, HistoryRecord, PatternStats
from models.incident import Incident
from models.log import LogBatch
from models.prediction import ModelAnswered, Prediction
from models.signal import Change, Control, EffectAnswered, InfraEvent, Review, Tick
from models.snapshot import BaselineRollback, BaselineSnapshot
from models.template import TemplateCounts

__all__ = ["CONTRACTS"]

CONTRACTS: dict[str, type[Contract]] = {
    contract.TYPE: contract
    for contract in (
        LogBatch,
        TemplateCounts,
        Anomaly,
        ServiceHealth,
        InfraEvent,
        Change,
        Review,
        Control,
        Tick,
        EffectAnswered,
        HistoryRecalled,
        ModelAnswered,
        Incident,
        Prediction,
        Decision,
        Alert,
        Command,
        Outcome,
        JournalEntry,
        HistoryRecord,
        PatternStats,
        Catalog,
        AuditEntry,
        DeadLetter,
        BaselineSnapshot,
        BaselineRollback,
    )
}
