"""How a registry fails, by kind, each with its way out. No message holds a credential or an address's query."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus

from repro_tui.errors import InfrastructureError
from repro_tui.images.registry.reference import DOCKER_HUB, Reference


class RegistryError(InfrastructureError):
    """A registry cannot be reached, refuses, or answers what it must not; nothing is said about the image."""


class NotServedError(RegistryError):
    """The registry answers, and does not have it (any more)."""


class PassingError(Exception):
    """This try failed, another may not; `error` is what to raise when none is left."""

    def __init__(self, reason: str, error: InfrastructureError, *, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.after_s = after_s


PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_SERVED_HINT = (
    "the way out: a mirror or an exported layout that has it (--mirror), or a rebuild from the lock: name image.recipe"
)
_LONGEST_RETRY_AFTER_S = 60.0


def login_command(reference: Reference) -> str:
    """Return what logs in to the registry."""
    return "docker login" if reference.host == DOCKER_HUB else f"docker login {reference.host}"


def unauthorized(reference: Reference, what: str, *, with_credentials: bool, by_helper: str = "") -> RegistryError:
    """Return the error for a 401 or 403 that stays."""
    login = login_command(reference)
    if with_credentials:
        return RegistryError(
            f"{reference.host} does not accept the credentials it was given for {what}",
            where=str(reference),
            hint=f"log in again as somebody who may: {login}",
        )
    return RegistryError(
        f"{reference.host} wants credentials for {what}, and there are none",
        where=str(reference),
        hint=f"log in: {login}" + (f" ({by_helper})" if by_helper else ""),
    )


def refused(
    reference: Reference, what: str, status: int, *, push: bool = False, retry_after: str = ""
) -> RegistryError | PassingError:
    """Return the error for an answer that is no success, and neither 401 nor 403."""
    host = reference.host
    try:
        words = f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"HTTP {status}"
    if status == HTTPStatus.NOT_FOUND and push:
        return RegistryError(
            f"{host} knows no repository {reference.path} to push to",
            where=str(reference),
            hint="check the name; at some registries a repository must be made first",
        )
    if status == HTTPStatus.NOT_FOUND:
        return NotServedError(
            f"{host} does not serve {what}: it is unknown there, or no longer served",
            where=str(reference),
            hint=_NOT_SERVED_HINT,
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        error = RegistryError(
            f"{host} limits how often it is asked, and the limit is reached ({words})",
            where=str(reference),
            hint=f"wait, or log in for a higher limit: {login_command(reference)}",
        )
    else:
        error = RegistryError(f"{host} answers {words} for {what}", where=str(reference))
    if status in PASSING_STATUS:
        after_s = min(float(retry_after), _LONGEST_RETRY_AFTER_S) if retry_after.isdigit() else 0.0
        return PassingError(words, error, after_s=after_s)
    return error


def unreachable(reference: Reference, failure: BaseException, *, answered: bool) -> RegistryError | PassingError:
    """Return the error for a connection that failed: passing for what may pass (a reset, a time-out).

    A registry that `answered` before and now refuses connections is being restarted, as far as anybody can tell.
    """
    host, where = reference.endpoint, str(reference)
    causes = list(_causes(failure))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RegistryError(
                f"the TLS certificate of {host} is not trusted: {cause.verify_message or cause.reason}",
                where=where,
                hint=f"name the CA that signed it in SSL_CERT_FILE, or put it where Docker looks: "
                f"/etc/docker/certs.d/{host}/ca.crt",
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            return RegistryError(
                f"{host} does not speak TLS",
                where=where,
                hint="a registry without TLS must be named in REPRO_TUI_INSECURE_REGISTRIES",
            )
        if isinstance(cause, socket.gaierror):
            words = "no network: the host name is not resolved" if cause.errno == socket.EAI_AGAIN else "no such host"
            return RegistryError(
                f"{host} cannot be reached: {words}", where=where, hint="check the reference and the network"
            )
        if isinstance(cause, ConnectionRefusedError):
            error = RegistryError(
                f"{host} refuses the connection: nothing listens there",
                where=where,
                hint="check the port, and that the registry runs",
            )
            return PassingError("it refuses the connection", error) if answered else error
        if isinstance(cause, OSError) and cause.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
            return RegistryError(f"{host} cannot be reached: no route", where=where, hint="check the network")
    timed_out = any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes)
    reason = "timed out" if timed_out else "the connection was cut"
    error = RegistryError(f"{host}: {reason}", where=where, hint="run it again: what was fetched is kept")
    return PassingError(reason, error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error and all it was made of: the HTTP libraries wrap them in each other in every way there is."""
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        wrapped = (*each.args, getattr(each, "reason", None), each.__cause__, each.__context__)
        pending.extend(part for part in wrapped if isinstance(part, BaseException))
