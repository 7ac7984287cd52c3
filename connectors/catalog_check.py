"""The catalog's own consistency: names that refer to each other must exist, once.

In: the declared applications, services, targets and runbooks, with the document they stand in. Out: the `Catalog` with
its version, or ConfigError.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.config_errors import suggestion
from connectors.yaml_file import Place, YamlDocument
from models.catalog import Catalog, Service
from models.errors import ConfigError
from models.event import digest

__all__ = ["build_catalog"]


def build_catalog(declared: Catalog, document: YamlDocument | None) -> Catalog:
    """The catalog with every service an application names, and its version (a digest of the rest). Raises ConfigError
    with file, line and key where a name is unknown, or stands twice.
    """
    where = _Where(document)
    where.unique("applications", "name", [app.name for app in declared.applications])
    where.unique("services", "name", [service.name for service in declared.services])
    where.unique("targets", "arn", [target.arn for target in declared.targets])
    arns = [target.arn for target in declared.targets]
    books = list(dict.fromkeys(book.id for book in declared.runbooks))
    owner: dict[str, str] = {}
    for number, app in enumerate(declared.applications):
        place: Place = ("applications", number)
        where.known((*place, "targets"), app.targets, arns, "target")
        where.known((*place, "runbooks"), app.runbooks, books, "runbook")
        for item, service in enumerate(app.services):
            if service in owner:
                message = f"service {service} belongs to application {owner[service]} already"
                raise where.error((*place, "services", item), message, "Name it in one application.")
            owner[service] = app.name
    where.known(("policy", "allow"), declared.policy.allow, ["*", *books], "runbook")
    _check_kinds(declared, where)
    known = {service.name for service in declared.services}
    named = (Service(name=name) for name in owner if name not in known)
    catalog = declared.model_copy(update={"services": (*declared.services, *named), "version": ""})
    return catalog.model_copy(update={"version": digest(catalog.model_dump_json())})


def _check_kinds(declared: Catalog, where: _Where) -> None:
    for number, app in enumerate(declared.applications):
        kinds = sorted({target.kind for target in declared.targets if target.arn in app.targets})
        for item, name in enumerate(app.runbooks):
            book = declared.runbook(name)
            if book is not None and book.target_kind not in kinds:
                message = f"runbook {name} is for a target of kind {book.target_kind}, and {app.name} has none"
                advice = f"Add such a target, or leave the runbook out (kinds there: {', '.join(kinds) or 'none'})."
                raise where.error(("applications", number, "runbooks", item), message, advice)


class _Where:
    """Where in the file, if there is one, an error stands."""

    def __init__(self, document: YamlDocument | None) -> None:
        self._document = document

    def error(self, place: Place, message: str, advice: str) -> ConfigError:
        if self._document is None:
            return ConfigError(message, file="environment", key=str(place[0]), advice=advice)
        return self._document.error(place, message, advice)

    def unique(self, table: str, field: str, names: Sequence[str]) -> None:
        for number, name in enumerate(names):
            if name in names[:number]:
                raise self.error((table, number, field), f"a second {name}", "Keep one of them.")

    def known(self, place: Place, names: Sequence[str], known: Sequence[str], kind: str) -> None:
        for number, name in enumerate(names):
            if name not in known:
                raise self.error((*place, number), f"unknown {kind} {name}", suggestion(name, known))
