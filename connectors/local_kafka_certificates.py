"""Certificates for a local broker, made on the spot by the JRE's keytool: an authority of its own, and one server.

In: a folder. Out: the server's keystore for the broker, the authority's certificate as PEM for clients.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from connectors.local_kafka_jars import require
from models.errors import LocalKafkaError

__all__ = ["STORE_PASSWORD", "Certificates", "make_certificates"]

STORE_PASSWORD = "foreshock-local"  # keytool wants one; the store never leaves this machine
_KEY = ("-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650", "-storetype", "PKCS12")


@dataclass(frozen=True, slots=True)
class Certificates:
    """`keystore` (PKCS12): the key and chain of localhost, 127.0.0.1; `ca_file` (PEM): what clients trust."""

    keystore: Path
    ca_file: Path


def make_certificates(folder: Path) -> Certificates:
    """Those in `folder`, made where it has none (2 s). Raises LocalKafkaError where keytool is missing or fails."""
    made = Certificates(folder / "server.p12", folder / "ca.pem")
    if made.keystore.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    authority, part = folder / "authority.p12", folder / "server.part.p12"
    _keytool(authority, "-genkeypair", "-alias", "ca", *_KEY, "-dname", "CN=Foreshock local authority",
             "-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign,cRLSign")  # fmt: skip
    _keytool(authority, "-exportcert", "-rfc", "-alias", "ca", "-file", str(made.ca_file))
    _keytool(authority, "-genkeypair", "-alias", "server", "-signer", "ca", *_KEY, "-dname", "CN=localhost",
             "-ext", "san=dns:localhost,ip:127.0.0.1")  # fmt: skip
    part.unlink(missing_ok=True)
    # The broker must see one key only: which of several it would show is not said anywhere.
    _keytool(part, "-importkeystore", "-srckeystore", str(authority), "-srcalias", "server",
             "-srcstorepass", STORE_PASSWORD, "-deststoretype", "PKCS12")  # fmt: skip
    part.rename(made.keystore)
    return made


def _keytool(store: Path, action: str, *arguments: str) -> None:
    names = ("-destkeystore", "-deststorepass") if action == "-importkeystore" else ("-keystore", "-storepass")
    command = [require("keytool", "default-jre-headless"), action, names[0], str(store), names[1], STORE_PASSWORD]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-500:]
        raise LocalKafkaError(f"keytool {action} failed: {said}. It must be that of Java 17 or later")
