"""Credentials for a registry: Docker's own configuration and helpers first, then Podman's auth.json.

They are handed to the one registry they are of and to nobody else. `repr` of a Credentials shows nothing.
"""

from __future__ import annotations

import base64
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.images.registry.errors import RegistryError
from repro_tui.images.registry.reference import Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or an identity token that buys access tokens."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def find_credentials(reference: Reference, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the credentials of this user for a registry, or None; raises RegistryError for a broken configuration."""
    environment = os.environ if environ is None else environ
    for path, keys in _places(reference, environment):
        if not os.path.isfile(path):  # nor one in a folder of another user, which `su` leaves in the variables
            continue
        for key in keys:
            if (found := _ask(path, key, reference)) is not None:
                return found
    return None


def _places(reference: Reference, environ: Mapping[str, str]) -> Iterator[tuple[Path, list[str]]]:
    """Yield the files to look into, each with the keys to look for; Podman's know parts of a registry too."""
    folder = environ.get("DOCKER_CONFIG") or str(Path(environ.get("HOME") or Path.home()) / ".docker")
    yield Path(folder) / "config.json", [reference.host]
    parts = reference.path.split("/")
    keys = ["/".join((reference.host, *parts[:count])) for count in range(len(parts), -1, -1)]
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named), keys
        return
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    yield Path(runtime) / "containers" / "auth.json", keys
    config = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    yield Path(config) / "containers" / "auth.json", keys


def _ask(path: Path, key: str, reference: Reference) -> Credentials | None:
    """Ask one file; the docker SDK knows its format, and how to ask helpers."""
    from docker.auth import AuthConfig
    from docker.errors import DockerException

    try:
        body: dict[str, Any] = dict(json.loads(path.read_bytes()))
        auths = body.get("auths") or {}
        if "/" in key:  # the SDK would take a key with a path for its whole host
            if key not in auths:
                return None
            body = {"auths": {reference.host: auths[key]}}
        elif path.name == "auth.json":
            body["auths"] = {name: value for name, value in auths.items() if name == key}
        config = AuthConfig.load_config(str(path), body)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a helper that is not there: the error says it
            found: dict[str, str] = config.resolve_authconfig(reference.host) or {}
    except (DockerException, OSError) as error:
        reason = "a credential helper failed" if isinstance(error, DockerException) else error.strerror
        raise RegistryError(
            f"the credentials for {reference.host} cannot be read: {reason}",
            where=str(path),
            hint="check credsStore and credHelpers there, and that docker-credential-… is on PATH",
        ) from None  # the cause may quote what it could not read
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RegistryError(
            "the file with the credentials is not what Docker or Podman writes", where=str(path), hint="log in again"
        ) from None
    values = {name.lower(): value for name, value in found.items() if value}
    token = values.get("identitytoken", "")
    if not token and "username" not in values:
        return None
    return Credentials(values.get("username", ""), values.get("password", ""), token)
