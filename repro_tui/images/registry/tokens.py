"""What a registry's 401 asks for, and the token that answers it (the distribution project's token specification)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from repro_tui.images.registry.credentials import Credentials
from repro_tui.images.registry.errors import RegistryError
from repro_tui.images.registry.reference import Reference

MAX_BYTES = 1 << 20
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z_]+\s*=|\s*(?:,|$))")
_PARAMETER = re.compile(r"([A-Za-z_]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,]+))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that a registry offers: "basic", or "bearer" with where a token is had and what for."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The request that a token is had with."""

    method: str
    url: str
    authorization: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], bytes] | None = field(default=None, repr=False)


def choose(header: str) -> Challenge | None:
    """Return the challenge to answer of a WWW-Authenticate header: a token before a password."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: '"' + "x" * (len(found[0]) - 2) + '"', header)
    starts = [found for found in _SCHEME.finditer(bare) if found[1].lower() in {"bearer", "basic"}]
    found: dict[str, Challenge] = {}
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(header)
        values = {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            for key, quoted, plain in _PARAMETER.findall(header[start.end() : end])
        }
        scheme = start[1].lower()
        found[scheme] = Challenge(scheme, values.get("realm", ""), values.get("service", ""), values.get("scope", ""))
    if (bearer := found.get("bearer")) is not None and bearer.realm:
        return bearer
    return found.get("basic")


def request(realm: str, service: str, scope: str, credentials: Credentials | None) -> TokenRequest:
    """Return the request for a token: with an identity token (OAuth 2), a password, or as nobody."""
    values = {"service": service, "scope": scope} if service else {"scope": scope}
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token", "refresh_token": credentials.identity_token, "client_id": "repro-tui",
            **values,
        }  # fmt: skip
        return TokenRequest(
            "POST", realm, headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=lambda: urlencode(form).encode(),
        )  # fmt: skip
    parts = urlsplit(realm)
    query = "&".join(part for part in (parts.query, urlencode(values)) if part)
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    return TokenRequest("GET", url, authorization=credentials.basic() if credentials is not None else "")


def read(data: bytes, reference: Reference) -> str:
    """Return the token of an answer; raises RegistryError for one without."""
    try:
        body = json.loads(data)
        token = body.get("token") or body.get("access_token")
        if isinstance(token, str) and token and token.isprintable():
            return token
    except (ValueError, AttributeError):
        pass
    raise RegistryError(f"{reference.host} gives no token", where=str(reference))
