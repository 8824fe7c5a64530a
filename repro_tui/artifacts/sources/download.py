"""Downloads over HTTP(S): resumed where they were cut off, tried again for passing failures, never past their size."""

from __future__ import annotations

import base64
import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from repro_tui import __version__
from repro_tui.artifacts.digests import TooLargeError
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_LONGEST_RETRY_AFTER_S = 30.0
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _PassingError(Exception):
    """This try failed, another may not."""

    def __init__(self, reason: str, *, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and hands credentials to nobody else."""

    def redirect_request(  # noqa: PLR0917 - the base class decides
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in {"http", "https"}:
            raise SourceUnavailableError(f"redirects to {urlsplit(newurl).scheme}:, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and _origin(newurl) != _origin(req.full_url):
            request.remove_header("Authorization")
        return request


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that speaks HTTP and HTTPS, through the host's proxies, and nothing else (no file:, no ftp:)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"repro-tui/{__version__}"), ("Accept-Encoding", "identity")]
    return opener


def shown(url: str) -> str:
    """Return an address as it may be printed: without credentials, query and fragment, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def download(
    url: str, target: Path, context: Context, *, text: str, limit_bytes: int, headers: Mapping[str, str] | None = None
) -> None:
    """Bring the bytes at an address to `target`, going on from what is there already.

    Progress is told under `text`. Raises SourceUnavailableError, and TooLargeError past `limit_bytes`. What was
    fetched before a failure stays in `target`, for the next try or the next run.
    """
    delays = list(context.retry_delays_s)
    while True:
        before = _size(target)
        try:
            _try(url, target, context, text=text, limit_bytes=limit_bytes, headers=headers or {})
        except _PassingError as error:
            if _size(target) > before:  # it moves: only failures in a row count
                delays = list(context.retry_delays_s)
            if not delays:
                raise SourceUnavailableError(
                    f"{error.reason}, after {len(context.retry_delays_s) + 1} tries"
                ) from error
            delay_s = max(delays.pop(0), error.after_s)
            context.notify(f"{text}: {error.reason}; trying again in {delay_s:.0f} s")
            if context.stop.wait(delay_s):
                raise SourceUnavailableError("stopped") from None
        else:
            return


def _without_userinfo(url: str) -> tuple[str, dict[str, str]]:
    """Split "user:password@" off an address; return it with the header that carries them (RFC 7617)."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    encoded = base64.b64encode(unquote(userinfo).encode()).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {encoded}"}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _try(url: str, target: Path, context: Context, *, text: str, limit_bytes: int, headers: Mapping[str, str]) -> None:
    have = _size(target)
    bare, credentials = _without_userinfo(url)
    request = urllib.request.Request(bare, headers={**credentials, **headers})  # noqa: S310 - the opener knows http(s) only
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=_TIMEOUT_S) as response:
            start, total = _extent(response, have)
            if total > limit_bytes:
                raise TooLargeError(f"{total} bytes are offered")
            with target.open("r+b" if start else "wb", buffering=0) as file:
                file.truncate(start)
                file.seek(start)
                _copy(response, file, context, text=text, start=start, total=total, limit_bytes=limit_bytes)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, target, have) from error
    except urllib.error.URLError as error:
        raise _failure(error.reason) from error
    except ssl.SSLCertVerificationError as error:
        raise _failure(error) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _PassingError(_words(error)) from error


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int]:
    """Return at which byte the answer starts, and how many bytes there are in all (0: not known)."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise SourceUnavailableError("answers with another range than was asked for")
        return have, 0 if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else 0


def _copy(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    context: Context,
    *,
    text: str,
    start: int,
    total: int,
    limit_bytes: int,
) -> None:
    done = start
    while chunk := _read(response):
        context.check_stop()
        file.write(chunk)
        done += len(chunk)
        if done > limit_bytes:
            raise TooLargeError(f"more than {limit_bytes} bytes")
        context.progress(done, total, text)
    if done < total:  # http.client ends quietly where a sized read is cut off
        raise _PassingError(f"the connection ended after {done} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)  # what has come, so that a cut or a kill loses none of it
    except OSError as error:
        raise _PassingError(_words(error)) from error


def _refusal(error: urllib.error.HTTPError, target: Path, have: int) -> Exception:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        os.truncate(target, 0)
        return _PassingError("what was there already does not fit")
    if error.code in _PASSING_STATUS:
        after = error.headers.get("Retry-After", "")
        after_s = min(float(after), _LONGEST_RETRY_AFTER_S) if after.isdigit() else 0.0
        return _PassingError(f"HTTP {error.code} {error.reason}", after_s=after_s)
    return SourceUnavailableError(f"HTTP {error.code} {error.reason}")


def _failure(reason: object) -> Exception:
    """Return a passing error for what may pass (a time-out, a reset), a final one for what will not (no such host)."""
    if isinstance(reason, TimeoutError | ConnectionResetError | ConnectionAbortedError):
        return _PassingError(_words(reason))
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_AGAIN:
        return SourceUnavailableError("no network: the host name is not resolved")
    return SourceUnavailableError(_words(reason) if isinstance(reason, BaseException) else str(reason))


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
