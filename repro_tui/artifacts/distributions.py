"""Distribution files (wheels, sdists, Debian packages, npm tarballs): the store, the mirrors, then the client.

Many are fetched in one call of a client. Processes that want the same file at once wait for one another, by a lock a
file taken in sorted order, and find it in the store then.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from packaging.utils import canonicalize_name

from repro_tui.artifacts.digests import TooLargeError, sha256_file
from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.packages import Deb, DebPin, Wheel, WheelPin, WheelTarget
from repro_tui.artifacts.sources import apt, npm, pip
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.download import download, shown
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, DriftError
from repro_tui.manifest.models import AptSource, HttpsSource, NpmSource, PipSource

OFFLINE_HINT = "run without --offline, or name a mirror folder that holds it (--mirror DIR)"
MIRROR_HINT = "check the network, or name a mirror folder that holds it (--mirror DIR)"

_PARALLEL_DOWNLOADS = 4

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_parallel(work: Callable[[_T], _R], items: Sequence[_T], *, workers: int, stop: threading.Event) -> list[_R]:
    """Return the results in order; after a failure nothing more is started, and the first one is raised.

    An interruption of this thread sets `stop`, which ends the downloads and clients of the others.
    """
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
            wait(futures)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]


class Distributions:
    """Fetches distribution files; every path returned is a checked file of the store."""

    def __init__(self, context: Context, mirrors: Sequence[Mirror], *, offline: bool) -> None:
        self._context = context
        self._store = context.store
        self._mirrors = mirrors
        self._offline = offline

    def held(self, sha256: str, component: str) -> Path | None:
        """Return the file of that digest from the store or, copied into it, from a mirror.

        Raises DigestMismatchError where a mirror lists other bytes under the digest.
        """
        there = self._store.has_blob(sha256)
        found = self._store.blob(sha256)
        if found is None and there:
            self._context.notify(f"{component} in the store no longer had its bytes; it was put aside")
        if found is not None:
            return found
        for mirror in self._mirrors:
            for path in mirror.files(sha256):
                return self._store.put_file(path, sha256=sha256, component=component)
        return None

    def looked_in(self) -> list[str]:
        """Return one line for the store and each mirror, for errors that list what was tried."""
        return ["store: not there", *(f"mirror {mirror.folder}: not there" for mirror in self._mirrors)]

    # --- wheels -------------------------------------------------------------------------------------------------------

    def wheels(self, pins: Sequence[WheelPin], target: WheelTarget) -> list[Path]:
        """Return a wheel for each pin; what is missing comes in one call of pip."""
        found = dict(zip(map(_key, pins), self._each(lambda pin: self._held_wheel(pin, target), pins), strict=True))
        missing = [pin for pin in pins if found[_key(pin)] is None]
        if missing:
            with self._locks(f"wheel-{key}" for key in map(_key, missing)):
                found.update((_key(pin), self._held_wheel(pin, target)) for pin in missing)
                missing = [pin for pin in missing if found[_key(pin)] is None]
                if missing:
                    self._refuse_offline(missing, "pip")
                    found.update(self._fetch_wheels(missing, target))
        return [path for pin in pins if (path := found[_key(pin)]) is not None]

    def _held_wheel(self, pin: WheelPin, target: WheelTarget) -> Path | None:
        ranked: list[tuple[int, str, Path]] = []
        for sha256 in sorted(pin.sha256s):
            listed = [path for mirror in self._mirrors for path in mirror.files(sha256)]
            if not self._store.has_blob(sha256) and not any(target.may_fit(path) for path in listed):
                continue
            path = self.held(sha256, _text(pin))
            if path is not None and (rank := _rank(path, target)) is not None:
                ranked.append((rank, sha256, path))
        return min(ranked)[2] if ranked else None

    def _fetch_wheels(self, pins: Sequence[WheelPin], target: WheelTarget) -> dict[str, Path]:
        by_name = {canonicalize_name(pin.name): pin for pin in pins}
        found = {}
        with self._store.scratch() as scratch:
            try:
                files = pip.fetch_wheels(pins, scratch, target, self._context)
            except SourceUnavailableError as error:
                raise self._none_left(pins, [f"pip: {error.reason}"], error.hint) from error
            for file in files:
                pin = by_name[canonicalize_name(file.name.partition("-")[0])]
                found[_key(pin)] = self._store.put_file(
                    file, sha256=pin.sha256s, component=_text(pin), where="pip", move=True
                )
        if absent := [pin for pin in pins if _key(pin) not in found]:
            raise self._none_left(absent, ["pip: brought no file"], "")
        return found

    # --- Debian packages ----------------------------------------------------------------------------------------------

    def debs(self, pins: Sequence[DebPin]) -> list[Path]:
        """Return each package; what is missing comes from the Debian mirror named, else in one call of apt-get."""
        found = dict(zip((pin.sha256 for pin in pins), self._each(self._held_deb, pins), strict=True))
        missing = [pin for pin in pins if found[pin.sha256] is None]
        if missing:
            with self._locks(f"deb-{pin.sha256}" for pin in missing):
                found.update((pin.sha256, self._held_deb(pin)) for pin in missing)
                missing = [pin for pin in missing if found[pin.sha256] is None]
                if missing:
                    self._refuse_offline(missing, "apt")
                    found.update(self._fetch_debs(missing))
        return [path for pin in pins if (path := found[pin.sha256]) is not None]

    def _held_deb(self, pin: DebPin) -> Path | None:
        return self.held(pin.sha256, _text(pin))

    def _fetch_debs(self, pins: Sequence[DebPin]) -> dict[str, Path]:
        reasons: list[SourceUnavailableError] = []
        if self._context.debian_mirror is not None:
            try:
                return self._debs_from_mirror(pins)
            except SourceUnavailableError as error:
                reasons.append(error)
        try:
            return self._debs_from_apt(pins)
        except SourceUnavailableError as error:
            reasons.append(error)
        raise self._none_left(pins, [error.reason for error in reasons], reasons[-1].hint)

    def _debs_from_mirror(self, pins: Sequence[DebPin]) -> dict[str, Path]:
        def fetch(pin: DebPin) -> tuple[str, Path]:
            url = f"{self._context.debian_mirror}/{apt.pool_path(pin)}"
            return pin.sha256, self.download(
                pin.sha256,
                _text(pin),
                where=shown(url),
                bring=lambda target: apt.fetch_from_mirror(pin, target, self._context),
            )

        try:
            return dict(in_parallel(fetch, pins, workers=_PARALLEL_DOWNLOADS, stop=self._context.stop))
        except SourceUnavailableError as error:
            raise SourceUnavailableError(
                f"Debian mirror: {error.reason}", hint=error.hint or apt.NEEDS_MIRROR
            ) from error

    def _debs_from_apt(self, pins: Sequence[DebPin]) -> dict[str, Path]:
        by_name = {(pin.name, pin.architecture): pin for pin in pins}
        found = {}
        with self._store.scratch() as scratch:
            for file in apt.fetch_debs(pins, scratch, self._context):
                name, _, rest = file.name.partition("_")
                pin = by_name.get((name, rest.rpartition("_")[2].removesuffix(".deb")))
                if pin is not None:
                    found[pin.sha256] = self._store.put_file(
                        file, sha256=pin.sha256, component=_text(pin), where="apt-get", move=True
                    )
        if absent := [pin for pin in pins if pin.sha256 not in found]:
            raise SourceUnavailableError(f"no file came for {_text(absent[0])}")
        return found

    # --- one file each ------------------------------------------------------------------------------------------------

    def of_source(self, source: PipSource | AptSource | NpmSource | HttpsSource, target: WheelTarget) -> Path:
        """Return the distribution file (or archive) that an artifact's source names.

        Raises SourceUnavailableError (in place of ArtifactUnavailableError: the artifact may have more sources).
        """
        if found := self.held(source.sha256 or "", _component(source)):
            return found
        if self._offline:
            raise SourceUnavailableError("offline", hint=OFFLINE_HINT)
        try:
            if isinstance(source, HttpsSource):
                limit_bytes = _LARGEST_ARCHIVE_BYTES
                return self.download_url(source.url, source.sha256 or "", _component(source), limit_bytes=limit_bytes)
            if isinstance(source, AptSource):
                return self.debs([Deb(source.package, source.version, source.architecture, source.sha256)])[0]
            if isinstance(source, PipSource) and not source.sdist:
                return self.wheels([Wheel(source.package, source.version, (source.sha256,))], target)[0]
        except ArtifactUnavailableError as error:
            raise SourceUnavailableError(error.tried[-1].partition(": ")[2], hint=error.hint) from error
        return self._packed(source)

    def _packed(self, source: PipSource | NpmSource) -> Path:
        with self._locks([f"blob-{source.sha256}"]):
            if found := self.held(source.sha256, _component(source)):
                return found
            with self._store.scratch() as scratch:
                if isinstance(source, NpmSource):
                    file = npm.fetch(source.package, source.version, scratch, self._context)
                else:
                    file = pip.fetch_sdist(source.package, source.version, source.sha256, scratch, self._context)
                component, where = _component(source), source.type
                return self._store.put_file(file, sha256=source.sha256, component=component, where=where, move=True)

    def download_url(
        self, url: str, sha256: str, component: str, *, limit_bytes: int, headers: dict[str, str] | None = None
    ) -> Path:
        """Return the file at an address, resumed where a download of it was cut off."""

        def bring(target: Path) -> None:
            download(url, target, self._context, text=component, limit_bytes=limit_bytes, headers=headers)

        return self.download(sha256, component, where=shown(url), bring=bring)

    def download(self, sha256: str, component: str, *, where: str, bring: Callable[[Path], None]) -> Path:
        """Keep what `bring` writes to a resumable partial file.

        Raises DigestMismatchError for other bytes, DriftError for more bytes than there may be.
        """
        with self._locks([f"download-{sha256}"]):
            if found := self._store.blob(sha256):
                return found
            partial = self._store.partial(sha256)
            resumed = partial.exists()
            whole = resumed and sha256_file(partial) == sha256  # its process died before it could be kept
            while True:
                try:
                    if not whole:
                        bring(partial)
                    return self._store.put_file(partial, sha256=sha256, component=component, where=where, move=True)
                except DigestMismatchError:
                    partial.unlink()
                    if not resumed:
                        raise
                    resumed = False  # what was there may have come from elsewhere: the whole file decides
                except TooLargeError as error:
                    partial.unlink(missing_ok=True)
                    raise DriftError(
                        f"{component} is not the pinned file: {error}", component=component, where=where
                    ) from error

    # --- shared -------------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        return in_parallel(work, items, workers=os.cpu_count() or 1, stop=self._context.stop)

    @contextmanager
    def _locks(self, keys: Iterable[str]) -> Iterator[None]:
        with ExitStack() as stack:
            for key in sorted(keys):
                stack.enter_context(
                    self._store.lock(key, on_wait=lambda: self._context.progress(0, 0, "another run fetches the same"))
                )
            yield

    def _refuse_offline(self, pins: Sequence[WheelPin] | Sequence[DebPin], client: str) -> None:
        if self._offline:
            raise self._none_left(pins, [f"{client}: offline"], OFFLINE_HINT)

    def _none_left(
        self, pins: Sequence[WheelPin] | Sequence[DebPin], reasons: Sequence[str], hint: str
    ) -> ArtifactUnavailableError:
        names = [_text(pin) for pin in pins]
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return ArtifactUnavailableError(
            f"not to be had: {some}", tried=[*self.looked_in(), *reasons], hint=hint or MIRROR_HINT
        )


_LARGEST_ARCHIVE_BYTES = 256 << 30


def _key(pin: WheelPin) -> str:
    return f"{canonicalize_name(pin.name)}-{pin.version}"


def _text(pin: WheelPin | DebPin) -> str:
    return f"{pin.name} {pin.version}"


def _component(source: PipSource | AptSource | NpmSource | HttpsSource) -> str:
    return shown(source.url) if isinstance(source, HttpsSource) else f"{source.package} {source.version}"


def _rank(path: Path, target: WheelTarget) -> int | None:
    """Return how well a wheel fits, by its own metadata (files of the store carry no name); None for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".dist-info/WHEEL") and name.count("/") == 1:
                    return target.rank_of_metadata(archive.read(name).decode("utf-8", "replace"))
    except zipfile.BadZipFile:
        pass
    return None
