"""Errors. Each class's docstring says what happened; its message says where, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ActionError",
    "BrokerError",
    "ConfigError",
    "ContractError",
    "DataFolderError",
    "FencedError",
    "ForeshockError",
    "GapError",
    "HorizonError",
    "LocalKafkaError",
    "MissingTopicError",
    "NewerVersionError",
    "PoisonError",
    "SignatureError",
    "StalledError",
    "TakenOverError",
    "UnknownOutcomeError",
    "UpgradeError",
    "UsageError",
]


class ForeshockError(Exception):
    """Base of every error that Foreshock raises on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(ForeshockError):
    """A command was given what it cannot take: a value, or options that exclude each other (exit 2, as for an unknown
    option).
    """

    exit_code = 2


class ConfigError(ForeshockError):
    """A configuration file, a catalog or a runbook cannot be used as it stands (exit 78, EX_CONFIG). Where `key` is an
    option of the command line, it was wrong usage (exit 2).
    """

    exit_code = 78

    def __init__(self, message: str, *, file: str = "", line: int = 0, key: str = "", advice: str = "") -> None:
        where = ":".join(part for part in (file, str(line) if line else "") if part)
        text = ": ".join(part for part in (where, key, message) if part)
        super().__init__(f"{text}. {advice}" if advice else text)
        self.file, self.line, self.key, self.advice = file, line, key, advice
        if key.startswith("--"):
            self.exit_code = UsageError.exit_code


class ContractError(ForeshockError):
    """A message does not keep its contract: it becomes a dead letter with this reason; the stream goes on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class NewerVersionError(ContractError):
    """A message is of a later version of its contract than this program reads; `run` is the deployment it says it is
    of.
    """

    def __init__(self, contract: str, version: int, reads: int, run: str) -> None:
        super().__init__("unknown_version", f"{contract} v{version}; this one reads up to v{reads}")
        self.version, self.reads, self.run = version, reads, run


class UpgradeError(ForeshockError):
    """A newer program of the same deployment wrote what this one must read: nothing is lost by stopping here, but there
    is no use in starting it again before it is upgraded (exit 78).
    """

    exit_code = 78

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: a newer version of Foreshock has written it. Upgrade this worker; it goes on exactly here. "
            "Upgrade readers before writers: act, respond, detect, mine, ingest."
        )


class SignatureError(ContractError):
    """A command, review or control is not signed by a key this deployment knows, or its signature does not match."""


class DataFolderError(ForeshockError):
    """A folder cannot be used: held by another process, read-only, full, or not a Foreshock folder (exit 73,
    EX_CANTCREAT).
    """

    exit_code = 73


class BrokerError(ForeshockError):
    """Kafka cannot be reached, or does not let this client do what it must (exit 69, EX_UNAVAILABLE)."""

    exit_code = 69


class MissingTopicError(BrokerError):
    """A topic is not there, or this client may not see it."""


class FencedError(ForeshockError):
    """Another worker has taken this unit over: what this one still writes does not count (exit 75, EX_TEMPFAIL)."""

    exit_code = 75

    def __init__(self, unit: str, own: int, theirs: int) -> None:
        super().__init__(
            f"{unit} was taken over by another worker (its term is {theirs}, ours {own}): this process was stopped or "
            "too slow for longer than kafka.session_seconds. Start it again; if it happens often, give it more CPU, or "
            "raise kafka.session_seconds. Two deployments must not share kafka.prefix."
        )
        self.unit = unit


class TakenOverError(ForeshockError):
    """Another ingest of the same name writes now: only one can, or lines would be given twice (exit 75)."""

    exit_code = 75

    def __init__(self, name: str) -> None:
        super().__init__(
            f"another ingest of the name {name!r} has taken over, and this one cannot write any more. If both are "
            "wanted (on another machine, or with other inputs), give each a --name and a --data folder of its own; "
            "else stop one of them for good: started again, this one would take over in its turn."
        )
        self.name = name


class LocalKafkaError(ForeshockError):
    """A broker of our own (`make kafka`, the tests) cannot be made or started on this machine, or has died."""


class ActionError(ForeshockError):
    """An action on a target was refused or failed. `transient`: the same call may well work a little later."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class UnknownOutcomeError(ActionError):
    """Nobody can tell whether the action took effect: the connection broke, or the process, after the call was sent."""


class GapError(ForeshockError):
    """The next record is not the one after the last: the host must read again from `want`."""

    def __init__(self, unit: str, want: int, got: int) -> None:
        super().__init__(f"{unit}: expected offset {want}, got {got}. The host rewinds to {want} and reads again.")
        self.want, self.got = want, got


class HorizonError(ForeshockError):
    """A record claims to come of one that the host has not seen yet: it must look how far that log really goes."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"{topic}/{partition}@{offset} is not known to exist. The host looks up the end of that log.")
        self.topic, self.partition, self.offset = topic, partition, offset


class PoisonError(ForeshockError):
    """A step failed on a valid record. The process stops; after three failures at this place it is quarantined."""

    exit_code = 70

    def __init__(self, unit: tuple[str, int], topic: str, partition: int, offset: int, cause: BaseException) -> None:
        super().__init__(
            f"{unit[0]}/{unit[1]} failed at {topic}/{partition}@{offset}: {cause!r}. Start again to retry; the third "
            f"failure at this place moves the record to dead-letters. Please report it with `foreshock tap {topic}`."
        )
        self.unit, self.topic, self.partition, self.offset, self.cause = unit, topic, partition, offset, cause


class StalledError(ForeshockError):
    """A consumer has messages to read and does not read them: its supervisor must start it again (exit 75)."""

    exit_code = 75

    def __init__(self, step: str, partitions: Sequence[int | str]) -> None:
        names = ", ".join(map(str, partitions))
        super().__init__(
            f"{step} has not moved on partitions {names} although there is something to read. Start it again; if it "
            "comes back, look at `foreshock doctor` and the broker's log."
        )
