"""The configuration: one YAML file, the environment, secrets. The only reader of the environment.

In: `foreshock.yaml`, variables FORESHOCK_* (`__` between levels: FORESHOCK_POLICY__MODE), secret files in the folder
FORESHOCK_SECRETS_DIR, options of the command line; an option wins over a variable, that over a secret, that over the
file. Out: a `Configuration`: the settings and the checked `Catalog`. Whatever is wrong is a ConfigError naming file,
line, key and what to write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from connectors.actuator_settings import ActuatorSettings
from connectors.catalog_check import build_catalog
from connectors.config_errors import config_error, suggestion
from connectors.kafka_settings import KAFKA_SECRETS, KafkaSettings
from connectors.runbooks import load_runbooks
from connectors.yaml_file import YamlDocument, read_yaml
from models.catalog import Application, Catalog, Service, Target
from models.errors import ConfigError
from models.event import Model
from models.policy import DetectionPolicy, Policy

__all__ = [
    "CONFIG_FILE",
    "Configuration",
    "InputSettings",
    "Retention",
    "Settings",
    "cache_folder",
    "process_environment",
    "read_settings",
    "starter_config",
]

CONFIG_FILE = "foreshock.yaml"
_PREFIX = "FORESHOCK_"
_NOT_SETTINGS = ("CONFIG", "SECRETS_DIR")
_SECRET = ("signing_keys", "signing_key", "actuator_token", *KAFKA_SECRETS)
_KAFKA_SECRET = {field: name for name, field in KAFKA_SECRETS.items()}


class InputSettings(Model):
    """One input: `path` is a file, a pattern, `-` for standard input, or `sim:SEED` for the simulator.

    Its lines' service is `service`; or what `service_pattern` finds in the path (`/var/log/{service}/*.log`, or a
    regular expression with a group); or what a line itself says; or the file's name. `timezone` (IANA) is that of times
    written without one.
    """

    path: str = Field(min_length=1)
    service: str = ""
    service_pattern: str = ""
    timezone: str = "UTC"

    @field_validator("service_pattern")
    @classmethod
    def _names_the_service(cls, value: str) -> str:
        if "{service}" in value:
            return value
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"Write a regular expression; this is none: {error}") from error
        if value and not groups:
            raise ValueError("Write {service} where the path names it, as in /var/log/{service}/*.log")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError("Write a time zone's name, as in Europe/Berlin or UTC") from error
        return value

    @model_validator(mode="after")
    def _has_one_word_on_the_service(self) -> InputSettings:
        if self.service and self.service_pattern:
            raise ValueError("Write either service or service_pattern, not both")
        return self


class Retention(Model):
    """How many bytes each topic keeps in the data folder: `logs_bytes` the lines, `topic_bytes` every other topic.

    The oldest go first, but nothing that a step has not read; compacted topics keep the newest of each key.
    """

    logs_bytes: int = Field(default=1_000_000_000, ge=1_000_000)
    topic_bytes: int = Field(default=250_000_000, ge=1_000_000)


class Settings(BaseSettings):
    """Everything an operator may set. Paths are as written; `Configuration` resolves them, but for `heartbeat`: a
    folder in which each role on Kafka touches a file of its name while it gets on (relative to where it runs).
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, allow_inf_nan=False
    )

    data: str = Field(default="foreshock-data", min_length=1)
    heartbeat: str = ""
    region: str = ""
    partitions: int = Field(default=1, ge=1, le=64)
    retention: Retention = Retention()
    kafka: KafkaSettings = KafkaSettings()
    actuator: ActuatorSettings = ActuatorSettings()
    inputs: tuple[InputSettings, ...] = ()
    applications: tuple[Application, ...] = ()
    services: tuple[Service, ...] = ()
    targets: tuple[Target, ...] = ()
    runbooks: tuple[str, ...] = ()
    policy: Policy = Policy()
    detection: DetectionPolicy = DetectionPolicy()
    signing_keys: dict[str, SecretStr] = {}
    signing_key: str = ""
    actuator_token: SecretStr = SecretStr("")
    kafka_password: SecretStr = SecretStr("")
    kafka_client_secret: SecretStr = SecretStr("")
    kafka_key_password: SecretStr = SecretStr("")


class Configuration(Model):
    """Settings and the catalog made of them. `file` is "" where there was none; `data` is relative to the file where it
    was written there, to the working folder where it came from the environment or an option.
    """

    file: str
    data: Path
    settings: Settings
    catalog: Catalog

    @property
    def signing_keys(self) -> dict[str, str]:
        """The given keys, id to secret text; empty where one is to be made in the data folder."""
        return {name: secret.get_secret_value() for name, secret in self.settings.signing_keys.items()}

    def resolve(self, path: str) -> Path:
        """A path of the file, as seen from here: relative ones are relative to the file."""
        return Path(self.file).parent / path if self.file else Path(path)


def starter_config() -> str:
    """The commented `foreshock.yaml` that `foreshock init` writes."""
    return resources.files("connectors").joinpath("foreshock.yaml").read_text(encoding="utf-8")


def cache_folder() -> Path:
    """Where this user's machine keeps what can be downloaded again: $XDG_CACHE_HOME/foreshock, else ~/.cache/foreshock.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (given if given.is_absolute() else Path.home() / ".cache") / "foreshock"


def process_environment(given: Mapping[str, str], *, inherit: bool = True) -> dict[str, str]:
    """The environment of a process that is started here: this one's and what is `given`; without `inherit` none of this
    one's own configuration.
    """
    kept = {name: value for name, value in os.environ.items() if inherit or not name.startswith(_PREFIX)}
    return kept | dict(given)


def read_settings(file: Path | None = None, options: Mapping[str, Any] | None = None) -> Configuration:
    """The configuration from `file`, else FORESHOCK_CONFIG, else ./foreshock.yaml where it exists, else defaults.

    `options` (of the command line, by key) win over all. Raises ConfigError.
    """
    path = _config_file(file)
    document = _document(path)
    _check_variables()
    settings = _merge(document, dict(options or {}))
    base = path.parent if path else Path()
    declared = Catalog(
        applications=settings.applications,
        services=settings.services,
        targets=settings.targets,
        runbooks=load_runbooks(_runbook_files(settings, base, document)),
        policy=settings.policy,
        detection=settings.detection,
    )
    _check_current_key(settings)
    settings = settings.model_copy(update={"kafka": _complete_kafka(settings, base)})
    given_here = _variable("data") or "data" in (options or {})
    return Configuration(
        file=str(path or ""),
        data=Path(settings.data) if given_here else base / settings.data,
        settings=settings,
        catalog=build_catalog(declared, document),
    )


def _complete_kafka(settings: Settings, base: Path) -> KafkaSettings:
    """With its secrets; its files are relative to the configuration's, or to here where a variable names them."""
    files = {
        key: path if _variable(f"kafka.tls.{key}") else str(base / path)
        for key, path in settings.kafka.tls.files.items()
    }
    return settings.kafka.complete({name: getattr(settings, name) for name in KAFKA_SECRETS}, files)


def _runbook_files(settings: Settings, base: Path, document: YamlDocument | None) -> list[Path]:
    files = [base / name for name in settings.runbooks]
    for number, file in enumerate(files):
        if not file.exists():
            message, advice = f"there is no {file}", "Write the path of a runbook, or of a folder of runbooks."
            if document is None or _variable("runbooks"):
                raise ConfigError(message, file="environment", key="FORESHOCK_RUNBOOKS", advice=advice)
            raise document.error(("runbooks", number), message, advice)
    return files


def _check_current_key(settings: Settings) -> None:
    if settings.signing_key and settings.signing_key not in settings.signing_keys:
        raise ConfigError(
            f"{settings.signing_key!r} is not one of the signing keys",
            file="environment",
            key="FORESHOCK_SIGNING_KEY",
            advice=suggestion(settings.signing_key, sorted(settings.signing_keys)),
        )


def _config_file(file: Path | None) -> Path | None:
    named = file or (Path(value) if (value := os.environ.get("FORESHOCK_CONFIG")) else None)
    if named is None:
        return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None
    if not named.is_file():
        advice = "Check the path, or write a first one with `foreshock init`."
        raise ConfigError("there is no such configuration file", file=str(named), advice=advice)
    return named


def _document(path: Path | None) -> YamlDocument | None:
    if path is None:
        return None
    documents = read_yaml(path)
    if not documents:
        return YamlDocument(str(path), {}, {(): 1})
    document = documents[0]
    if len(documents) > 1:
        raise documents[1].error((), "a second document", "Write everything into one, without `---`.")
    if not isinstance(document.data, dict):
        raise document.error((), "a configuration is keys and values", "Begin with a key, for example `inputs: []`.")
    _refuse_secrets(document)
    return document


def _refuse_secrets(document: YamlDocument) -> None:
    """Also where one would look for them within `kafka:`, in whichever part of it."""
    places = {(key,): key for key in _SECRET}
    for part in ((), ("sasl",), ("tls",)):
        places |= {("kafka", *part, field): name for field, name in _KAFKA_SECRET.items()}
    for place, name in places.items():
        if _has(document.data, place):
            advice = f"Set {_PREFIX}{name.upper()} in the environment, or a file in FORESHOCK_SECRETS_DIR."
            raise document.error(place, "a secret does not belong in this file", advice)


def _has(data: object, place: tuple[str, ...]) -> bool:
    for key in place:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _merge(document: YamlDocument | None, options: dict[str, Any]) -> Settings:
    """Validate file, secrets, environment and options together."""

    class _Merged(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - only one file is read
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            written = InitSettingsSource(settings_cls, init_kwargs=document.data if document else {})
            return init_settings, env_settings, file_secret_settings, written

    try:
        merged = _Merged(_secrets_dir=_secrets_dir(), **options)
    except SettingsError as error:
        key = _variable_in(str(error))
        advice = "Write it as JSON, or write it into the configuration file."
        raise ConfigError("not valid JSON", file="environment", key=key, advice=advice) from error
    except ValidationError as error:
        raise config_error(error, Settings, document, _variable) from error
    return Settings.model_construct(**{name: getattr(merged, name) for name in Settings.model_fields})


def _secrets_dir() -> str | None:
    folder = os.environ.get("FORESHOCK_SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        advice = "Name a folder, or unset it."
        raise ConfigError(f"{folder} is no folder", file="environment", key="FORESHOCK_SECRETS_DIR", advice=advice)
    return folder


def _check_variables() -> None:
    """A misspelt variable would be ignored silently. FORESHOCK_TEST_* belongs to the tests."""
    known = [*_NOT_SETTINGS, *(name.upper() for name in Settings.model_fields)]
    for name in sorted(os.environ):
        top = name.removeprefix(_PREFIX).split("__")[0]
        if name.startswith(_PREFIX) and top.upper() not in known and not top.startswith("TEST_"):
            advice = suggestion(name, [_PREFIX + key for key in known])
            raise ConfigError("unknown variable", file="environment", key=name, advice=advice)


def _variable(key: str) -> str | None:
    """The variable that sets this key, or one above or below it."""
    path = re.split(r"[.\[]", key)
    names = {name.upper(): name for name in sorted(os.environ)}
    for depth in range(len(path), 0, -1):
        name = _PREFIX + "__".join(path[:depth]).upper()
        if name in names:
            return names[name]
    return None


def _variable_in(message: str) -> str:
    """The variable that pydantic-settings could not parse: its message names the field in quotes."""
    field = re.search(r'field "(\w+)"', message)
    return _PREFIX + field[1].upper() if field else _PREFIX + "*"
