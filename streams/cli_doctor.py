"""`foreshock doctor`: every check on a line of its own, with what to do next where something is not well.

In: a `Where`. Out: stdout; exit 1 when something failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from connectors.open_log import configured_cluster
from connectors.settings import read_settings
from connectors.where import Where
from models.errors import ConfigError, UsageError
from streams.cli_where import quiet_clients
from streams.doctor import Finding
from streams.rendering import note, put, put_json, shown

__all__ = ["doctor"]


def doctor(where: Where, *, as_json: bool) -> None:
    """Make all checks; each is shown as soon as it is made. Raises ConfigError for options that cannot be meant."""
    levels = []
    with quiet_clients():
        for finding in _examine(where):
            levels.append(finding.level)
            _show(finding, as_json)
    failed, warned = levels.count("fail"), levels.count("warn")
    note(f"{len(levels)} checks: {failed or 'nothing'} failed" + (f", {warned} to look at" if warned else ""))
    if failed:
        sys.exit(1)


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        put_json(finding._asdict())
        return
    put(shown(f"{finding.level:<4}  {finding.check}: {finding.said}"))
    if finding.advice and finding.level != "ok":
        put(shown(f"      {finding.advice}"))


def _examine(where: Where) -> Iterator[Finding]:
    try:
        cluster = configured_cluster(where)
        configuration = cluster or read_settings(where.config)
    except ConfigError as error:
        if error.exit_code == UsageError.exit_code:
            raise
        yield Finding("configuration", "fail", "it cannot be used", str(error))
        return
    yield Finding("configuration", "ok", configuration.file or "no file: defaults and the environment")
    if cluster is not None:
        from streams.doctor_cluster import examine_cluster

        yield from examine_cluster(cluster, where.options)
    else:
        from streams.doctor_folder import examine_folder

        data = where.data if where.data is not None else configuration.data
        yield from examine_folder(data, configuration, where.options)
