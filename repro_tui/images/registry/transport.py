"""One registry over HTTP: TLS, credentials that stay with their host, redirects, and tries again.

Every request goes through `Transport.send`; nothing else here or above opens a connection.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from repro_tui import __version__
from repro_tui.images.registry import tokens
from repro_tui.images.registry.credentials import Credentials, find_credentials
from repro_tui.images.registry.errors import PassingError, RegistryError, refused, unauthorized, unreachable
from repro_tui.images.registry.reference import Reference

if TYPE_CHECKING:
    from requests import Response, Session

ENV_INSECURE = "REPRO_TUI_INSECURE_REGISTRIES"
"""Environment variable: registries (HOST or HOST:PORT, separated by commas) that are asked without TLS."""

CONNECTIONS = 4
_TIMEOUT_S = (10.0, 60.0)
_MAX_REDIRECTS = 5
_BLOCK_BYTES = 1 << 18
RETRY_DELAYS_S = (0.5, 1.0, 2.0, 4.0)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OK = frozenset({200, 201, 202, 204, 206})

Body = Callable[[], Any]
"""Makes the body of a request anew for each try."""


class Transport:
    """Talks to the registry of one reference; any number of threads may use it at once.

    `push` asks for the right to write too. `notify` is told of tries that failed, `stop` ends waiting between them.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        push: bool = False,
        notify: Callable[[str], None] = lambda _: None,
        stop: threading.Event | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self.reference = reference
        self.stop = stop or threading.Event()
        self._push = push
        self._notify = notify
        self._plain = is_plain(reference, self._environ)
        self._session = _session(reference, self._environ)
        self._guard = threading.Lock()
        self._authorization = ""
        self._credentials: Credentials | None = None
        self._credentials_sought = False
        self._answered = False
        self._open: set[Response] = set()

    @property
    def base(self) -> str:
        """Address of the repository."""
        return f"{'http' if self._plain else 'https'}://{self.reference.endpoint}/v2/{self.reference.path}"

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def abort(self) -> None:
        """End what other threads read, now: a server that says nothing would hold them for a minute."""
        self.stop.set()
        for response in list(self._open):
            with suppress(Exception):  # it may be closed by now
                response.raw.shutdown()

    def retrying(self, work: Callable[[], None], *, moved: Callable[[], int] = lambda: 0) -> None:
        """Do some work again for as long as it fails for passing reasons; `moved` grows when it gets anywhere.

        Raises what the last try failed with. Only failures in a row count.
        """
        delays = list(RETRY_DELAYS_S)
        while True:
            before = moved()
            try:
                work()
            except PassingError as failure:
                if moved() > before:
                    delays = list(RETRY_DELAYS_S)
                if not delays:
                    raise failure.error from None
                delay_s = max(delays.pop(0), failure.after_s)
                self._notify(f"{self.reference.host}: {failure.reason}; trying again in {delay_s:g} s")
                if self.stop.wait(delay_s):
                    raise stopped(self.reference) from None
            else:
                return

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept_status: frozenset[int] = frozenset(),
    ) -> Iterator[Response]:
        """Send one request and give its answer, the body not read yet; redirects are followed, credentials sent.

        `what` names in errors what is asked for. Statuses besides success must be in `accept_status`. Raises
        RegistryError, and PassingError for what may pass.
        """
        response = self._authorized(method, urljoin(self.base + "/", url), what, dict(headers or {}), body)
        try:
            if response.status_code not in _OK | accept_status:
                raise refused(
                    self.reference, what, response.status_code, push=self._push,
                    retry_after=response.headers.get("Retry-After", ""),
                )  # fmt: skip
            self._open.add(response)
            with self.connection():
                yield response
        finally:
            self._open.discard(response)
            response.close()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Turn what a connection can end in into this package's errors."""
        import requests
        import urllib3

        try:
            yield
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            ConnectionError,
            TimeoutError,
            ssl.SSLError,
        ) as error:
            failure = unreachable(self.reference, error, answered=self._answered)
            raise failure from None  # the cause may quote an address with a secret in it

    # --- authorization ------------------------------------------------------------------------------------------------

    def _authorized(self, method: str, url: str, what: str, headers: dict[str, str], body: Body | None) -> Response:
        authorization = self._authorization
        response = self._follow(method, url, headers, body, authorization)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            challenges = response.headers.get("WWW-Authenticate", "")
            response.close()
            response = self._follow(method, url, headers, body, self._answer(challenges, authorization, what))
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            response.close()
            raise unauthorized(self.reference, what, with_credentials=self._credentials is not None)
        return response

    def _answer(self, challenges: str, used: str, what: str) -> str:
        """Return the Authorization that a challenge asks for; one that another thread got meanwhile will do."""
        with self._guard:
            if self._authorization != used:
                return self._authorization
            if not self._credentials_sought:
                self._credentials = find_credentials(self.reference, self._environ)
                self._credentials_sought = True
            credentials = self._credentials
            challenge = tokens.choose(challenges)
            if challenge is None:
                raise RegistryError(
                    f"{self.reference.host} wants a kind of login that is neither a password nor a token",
                    where=str(self.reference),
                )
            if challenge.scheme == "basic":
                if credentials is None or not credentials.user:
                    raise unauthorized(self.reference, what, with_credentials=credentials is not None)
                self._authorization = credentials.basic()
            else:
                self._authorization = "Bearer " + self._token(challenge, credentials, what)
            return self._authorization

    def _token(self, challenge: tokens.Challenge, credentials: Credentials | None, what: str) -> str:
        """Buy a token for what the challenge says, with credentials where there are any."""
        actions = "pull,push" if self._push else "pull"
        realm = urljoin(self.base, challenge.realm)
        scope = challenge.scope or f"repository:{self.reference.path}:{actions}"
        if urlsplit(realm).scheme != "https" and not self._plain:
            raise RegistryError(
                f"{self.reference.host} wants its credentials sent without TLS", where=str(self.reference)
            )
        request = tokens.request(realm, challenge.service, scope, credentials)
        tried: list[str] = []

        def ask() -> None:
            response = self._follow(
                request.method, request.url, {"Accept": "application/json", **request.headers}, request.body,
                request.authorization, private=True,
            )  # fmt: skip
            with response, self.connection():
                if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                    raise unauthorized(self.reference, what, with_credentials=credentials is not None)
                if response.status_code != HTTPStatus.OK:
                    raise refused(self.reference, "a token", response.status_code)
                data = response.raw.read(tokens.MAX_BYTES + 1, decode_content=True)
            tried.append(tokens.read(data, self.reference))

        self.retrying(ask)
        return tried[-1]

    # --- one request and its redirects --------------------------------------------------------------------------------

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str,
        *,
        private: bool = False,
    ) -> Response:
        """Send a request and follow redirects; `authorization`, and a `private` body, go to the first host only."""
        origin = _origin(url)
        for _ in range(_MAX_REDIRECTS + 1):
            home = _origin(url) == origin
            mine = {"Authorization": authorization} if authorization and home else {}
            data = None if body is None or (private and not home) else body()
            with self.connection():
                response = self._session.request(
                    method, url, headers={**headers, **mine}, data=data, stream=True,
                    allow_redirects=False, timeout=_TIMEOUT_S, auth=_nothing_added,
                )  # fmt: skip
            self._answered = True
            location = response.headers.get("Location", "")
            if response.status_code not in {301, 302, 303, 307, 308} or not location:
                return response
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme != "https" and not (self._plain and urlsplit(url).scheme == "http"):
                raise RegistryError(
                    f"{self.reference.host} redirects to {urlsplit(url).scheme}:, which is not followed",
                    where=str(self.reference),
                )
        raise RegistryError(f"{self.reference.host} redirects in a circle", where=str(self.reference))


def is_plain(reference: Reference, environ: Mapping[str, str]) -> bool:
    """Tell whether a registry is asked without TLS: one named so, or one on this machine that speaks none."""
    named = {part.strip() for part in environ.get(ENV_INSECURE, "").split(",") if part.strip()}
    if named & {reference.host, reference.hostname}:
        return True
    return reference.hostname in _LOOPBACK and not _speaks_tls(reference)


def _speaks_tls(reference: Reference) -> bool:
    """Say hello to a registry on this machine; nothing is sent, so no certificate is looked at yet."""
    port = urlsplit(f"//{reference.host}").port or 443
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((reference.hostname, port), timeout=_TIMEOUT_S[0]) as connection,
            context.wrap_socket(connection, server_hostname=reference.hostname),
        ):
            return True
    except OSError:
        return False


def stopped(reference: Reference) -> RegistryError:
    """Return the error of a thread that was told to end; the one that told it knows why."""
    return RegistryError("stopped", where=str(reference))


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _nothing_added(request: Any) -> Any:
    """Stand in for requests' own look into ~/.netrc, which would overwrite the Authorization."""
    return request


def _certificates(reference: Reference, environ: Mapping[str, str]) -> list[Path]:
    """Return the files that Docker has for a registry: certificates of CAs, and of this client with their keys."""
    home = Path(environ.get("HOME") or Path.home())
    folders = [home / ".docker" / "certs.d", Path("/etc/docker/certs.d")]
    found: list[Path] = []
    for folder in folders:
        place = folder / reference.endpoint
        try:
            found += sorted(path for path in place.iterdir() if path.suffix in {".crt", ".cert"})
        except OSError:  # not there, or not for us
            continue
    return found


def _session(reference: Reference, environ: Mapping[str, str]) -> Session:
    """Return a session that takes no cookies, and trusts this system's CAs and those that Docker trusts here."""
    import requests
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()  # SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own
    for path in _certificates(reference, environ):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.with_suffix(".key").is_file():
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:  # ssl.SSLError is one
            raise RegistryError(
                f"a certificate for {reference.host} cannot be read: {error.strerror or error}",
                where=str(path),
                hint="it must be in PEM format",
            ) from None

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=context, blocksize=_BLOCK_BYTES)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, **options, ssl_context=context, blocksize=_BLOCK_BYTES)

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": f"repro-tui/{__version__}", "Accept-Encoding": "identity"})
    session.trust_env = reference.hostname not in _LOOPBACK  # no proxy can reach this machine's own loopback
    if not session.trust_env and (bundle := environ.get("REQUESTS_CA_BUNDLE")):
        session.verify = bundle
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(pool_connections=CONNECTIONS, pool_maxsize=2 * CONNECTIONS))
    return session
