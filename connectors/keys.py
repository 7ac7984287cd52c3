"""The keys that sign and verify. In: keys given by the operator, or a data folder. Out: a KeyRing.

Without given keys one is made in the data folder: `keys.json`, readable by its owner only.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from models.errors import ConfigError, DataFolderError
from models.signing import KeyRing

__all__ = ["KEYS_FILE", "load_keys"]

KEYS_FILE = "keys.json"
_ADVICE = 'It holds {"current": ID, "keys": {ID: SECRET}}. Restore it, or delete it to make a new one.'


def load_keys(data: Path, given: Mapping[str, str], current: str = "") -> KeyRing:
    """The given keys (id to secret text; `current` signs, the only or the last one where it is ""), or those of the
    data folder, made there (0600) where there are none. Raises ConfigError, DataFolderError.
    """
    if given:
        return KeyRing({name: secret.encode() for name, secret in given.items()}, current or list(given)[-1])
    path = data / KEYS_FILE
    if not path.exists():
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Write a new key beside, then link it into place: whoever is first wins, and nobody reads half a file."""
    name = f"local-{secrets.token_hex(4)}"
    content = json.dumps({"current": name, "keys": {name: secrets.token_hex(32)}}) + "\n"
    draft = path.with_name(f".{KEYS_FILE}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            os.unlink(draft)
    except OSError as error:
        advice = "Give this user write access to the data folder, or set FORESHOCK_SIGNING_KEYS."
        raise DataFolderError(f"{path}: the signing key cannot be written ({error.strerror}). {advice}") from error


def _read(path: Path) -> KeyRing:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            advice = f"Run `chmod 600 {path}`."
            raise ConfigError(f"others may read the signing keys (mode {mode:o})", file=str(path), advice=advice)
        content = json.loads(path.read_bytes())
        return KeyRing({str(name): secret.encode() for name, secret in content["keys"].items()}, content["current"])
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path), advice=_ADVICE) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("not a file of keys", file=str(path), advice=_ADVICE) from error
