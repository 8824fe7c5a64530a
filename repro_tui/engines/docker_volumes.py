"""Inputs and outputs of a container whose daemon does not see this machine's folders: they travel through volumes.

A second container of the same image, never started, holds the volumes: through it files go in before the run, and come
out of it meanwhile and afterwards. Read-only mounts share a volume for each first part of their path (`/inputs`,
`/code`), because a volume cannot be mounted as a file; a writable mount has one of its own.

What lies in the store under a digest goes into volumes that are kept and found again by the next run; every other
volume is removed with its container, by `sweep`, or by the guard.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from repro_tui.engines import docker_archive, workers
from repro_tui.engines.base import ContainerSpec, Mount
from repro_tui.engines.docker_archive import Entry, Unpacked
from repro_tui.errors import EngineError
from repro_tui.wire import ENV_METRICS

if TYPE_CHECKING:
    import requests
    from docker import DockerClient

LABEL = "org.repro-tui.worker"
LABEL_RUN = "org.repro-tui.run"
LABEL_CONTAINER = "org.repro-tui.container"
LABEL_CONTENT = "org.repro-tui.content"
CARRIER = "-files"
"""How the name of a carrier ends."""
KEEP = timedelta(days=14)
"""How long inputs stay on the daemon's host after they were sent."""

_LIVE_S = 1.0
_TRIES = 3
_SEND_S = 600
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STORED = frozenset({"blobs", "trees"})


@dataclass
class _Volume:
    """One volume: the mounts whose files it holds, all below `target`."""

    target: str
    mounts: list[Mount]
    read_only: bool
    content: str = ""
    """What it is found by where it is kept."""
    name: str = ""
    witness: Entry | None = None
    """The last file that is sent: where it is there and whole, so is the rest."""
    entries: list[Entry] = field(default_factory=list)


class Volumes:
    """The volumes of one container, filled; `remove` whatever happens."""

    def __init__(self, client: DockerClient, streams: DockerClient, image: str, spec: ContainerSpec, user: str) -> None:
        """Send the inputs; raises what the SDK raises, EngineError, OSError. `user` (uid:gid) writes the outputs."""
        self._client = client
        self._streams = streams
        self._spec = spec
        self._owner = (int(user.partition(":")[0]), int(user.partition(":")[2]))
        self._volumes = _plan(spec)
        self._live = self._live_file()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._carrier = self._carry(image)
        except BaseException:
            self.remove()
            raise

    @property
    def mounts(self) -> list[Any]:
        """What the container mounts."""
        from docker.types import Mount as Volume

        return [
            Volume(each.target, each.name, type="volume", read_only=each.read_only, no_copy=True)
            for each in self._volumes
        ]

    def follow(self) -> None:
        """Begin to fetch the metrics while the container writes them."""
        if self._live is not None:
            self._thread = threading.Thread(target=self._follow, name=f"fetch {self._spec.name}", daemon=True)
            self._thread.start()

    def fetch(self) -> list[str]:
        """Fetch all outputs, once the container has ended; return the paths that were left out.

        Raises EngineError where that was not possible: what is here then is not whole.
        """
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        left_out: list[str] = []
        for each in self._volumes:
            if not each.read_only:
                left_out += self._fetched(each).left_out
        return left_out

    def remove(self) -> None:
        """Remove what is not kept; what cannot be removed now is left to `sweep`."""
        self._over.set()
        remove(self._client, self._spec.name)

    # --- there --------------------------------------------------------------------------------------------------------

    def _carry(self, image: str) -> str:
        """Return a container with the volumes, all of them filled."""
        refused: set[str] = set()
        for each in self._volumes:
            for mount in each.mounts:
                each.entries += docker_archive.entries(mount)
            files = [entry for entry in each.entries if stat.S_ISREG(entry.status.st_mode)]
            each.witness = files[-1] if files else None
        nested = [each.target for each in self._volumes]
        while True:
            kept = []
            for each in self._volumes:
                each.name = self._kept(each, refused) if each.content and each.witness else ""
                if each.name:
                    kept.append(each)
                else:
                    self._make(each)
            carrier = self._create(image)
            broken = [each for each in kept if not self._whole(carrier, each)]
            if not broken:
                break
            refused |= {each.name for each in broken}
            remove(self._client, self._spec.name)
        for each in self._volumes:
            if each not in kept:
                self._send(carrier, each, [target for target in nested if target.startswith(each.target + "/")])
        return carrier

    def _kept(self, volume: _Volume, refused: set[str]) -> str:
        """Return the name of a volume that should hold this content already."""
        found = self._client.volumes.list(filters={"label": f"{LABEL_CONTENT}={volume.content}"})
        return next((str(each.name) for each in found if each.name not in refused), "")

    def _make(self, volume: _Volume) -> None:
        suffix = secrets.token_hex(4)
        if volume.content:
            volume.name = f"repro-tui-input-{volume.content[:16]}-{suffix}"
            labels = {LABEL_CONTENT: volume.content}
        else:
            volume.name = f"{self._spec.name}-{suffix}"
            labels = {LABEL: str(workers.current()), LABEL_RUN: self._spec.run_id, LABEL_CONTAINER: self._spec.name}
        self._client.volumes.create(name=volume.name, driver="local", labels=labels)

    def _create(self, image: str) -> str:
        from docker.types import Mount as Volume

        created = self._client.containers.create(
            image=image,
            name=_carrier(self._spec.name),
            entrypoint=["/never-started"],
            command=[],
            network_mode="none",
            mounts=[Volume(each.target, each.name, type="volume", no_copy=True) for each in self._volumes],
            labels={LABEL: str(workers.current()), LABEL_RUN: self._spec.run_id, LABEL_CONTAINER: self._spec.name},
        )
        return str(created.id)

    def _whole(self, carrier: str, volume: _Volume) -> bool:
        """Say whether everything was sent: files go in one after the other, so the last one tells."""
        witness = volume.witness
        if witness is None:
            return False
        there = _look(self._client, carrier, witness.target)
        return there is not None and there.get("size") == witness.status.st_size

    def _send(self, carrier: str, volume: _Volume, mount_points: list[str]) -> None:
        """Fill a volume; the folder itself gets its owner too, so it goes in by its name at the root."""
        made = os.stat("/")
        uid, gid = self._owner
        first = [Entry(target, Path("/"), made) for target in _above(volume, mount_points)]
        chunks = docker_archive.pack(iter([*first, *volume.entries]), uid, gid, writable=not volume.read_only)

        def stream() -> Iterator[bytes]:
            yield from chunks
            yield bytes(2 * tarfile.BLOCKSIZE)

        answer = _archive(self._client, "PUT", carrier, "/", data=_Chunks(stream()), timeout=_SEND_S)
        with contextlib.closing(answer):
            if answer.status_code != 200:
                raise EngineError(f"the files below {volume.target} could not be sent: {answer.text.strip()}")

    # --- and back -----------------------------------------------------------------------------------------------------

    def _live_file(self) -> tuple[str, Path] | None:
        """Return the file of the metrics, there and here, where it lies in a writable mount."""
        path = self._spec.environment.get(ENV_METRICS, "")
        for mount in self._spec.mounts:
            if not mount.read_only and path.startswith(mount.target + "/") and ".." not in path.split("/"):
                return path, mount.source / path.removeprefix(mount.target + "/")
        return None

    def _follow(self) -> None:
        """Fetch the metrics when they have grown; never more than a tenth of the time is spent on it."""
        pause_s = _LIVE_S
        size = -1
        while self._live is not None and not self._over.wait(pause_s):
            began = time.monotonic()
            with contextlib.suppress(Exception):  # tried again, and all is fetched at the end
                there = _look(self._streams, self._carrier, self._live[0], timeout=_SEND_S)
                if there is not None and there.get("size") != size:
                    self._fetch_file(*self._live)
                    size = int(there["size"])
            pause_s = max(_LIVE_S, 10 * (time.monotonic() - began))

    def _fetch_file(self, path: str, here: Path) -> None:
        with (
            contextlib.closing(_archive(self._streams, "GET", self._carrier, path, timeout=_SEND_S)) as answer,
            tarfile.open(fileobj=cast("IO[bytes]", answer.raw), mode="r|") as tar,
        ):
            member = tar.next() if answer.status_code == 200 else None
            if member is not None and member.isreg() and (content := tar.extractfile(member)) is not None:
                docker_archive.overwrite(content, here)

    def _fetched(self, volume: _Volume) -> Unpacked:
        (mount,) = volume.mounts
        for attempt in range(1, _TRIES + 1):
            try:
                with contextlib.closing(
                    _archive(self._streams, "GET", self._carrier, volume.target, timeout=_SEND_S)
                ) as answer:
                    answer.raise_for_status()
                    done = docker_archive.unpack(cast("IO[bytes]", answer.raw), mount.source.resolve())
                    while answer.raw.read(1 << 16):  # to the end: a stream that was cut says so here
                        pass
                    return done
            except Exception as error:
                if attempt == _TRIES:
                    raise EngineError(f"what it wrote to {volume.target} could not be fetched: {error}") from error
                time.sleep(_LIVE_S)
        raise AssertionError("the last attempt returns or raises")


class _Chunks:
    """A body that is sent as it is made; the SDK's HTTP client needs to see that its length is unknown."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def remove(client: DockerClient, container: str) -> None:
    """Remove the carrier and the volumes of a container, as far as that goes."""
    from docker.errors import NotFound

    with contextlib.suppress(Exception):
        with contextlib.suppress(NotFound):
            client.containers.get(_carrier(container)).remove(force=True)
        for volume in client.volumes.list(filters={"label": f"{LABEL_CONTAINER}={container}"}):
            with contextlib.suppress(Exception):
                volume.remove(force=True)


def sweep(client: DockerClient) -> None:
    """Remove volumes of dead workers of this machine, and inputs that nobody has sent for long."""
    for volume in client.volumes.list(filters={"label": LABEL}):
        worker = workers.Worker.parse((volume.attrs.get("Labels") or {}).get(LABEL, ""))
        if worker is not None and worker.is_dead():
            with contextlib.suppress(Exception):
                volume.remove(force=True)
    for volume in client.volumes.list(filters={"label": LABEL_CONTENT}):
        with contextlib.suppress(Exception):  # refused while a container has it
            if datetime.now(UTC) - datetime.fromisoformat(str(volume.attrs["CreatedAt"])) > KEEP:
                volume.remove()


def sees(client: DockerClient, container: str, mounts: Sequence[Mount]) -> bool:
    """Say whether a created container has the very folders of this machine: a file made here is looked for there."""
    for mount in mounts:
        if mount.read_only or not mount.source.is_dir():
            continue
        name = f".repro-tui-{secrets.token_hex(8)}"
        path = mount.source / name
        path.touch()
        try:
            return _look(client, container, f"{mount.target}/{name}") is not None
        finally:
            path.unlink()
    return True


def _carrier(container: str) -> str:
    return container + CARRIER


def _plan(spec: ContainerSpec) -> list[_Volume]:
    planned: list[_Volume] = []
    inputs: dict[str, _Volume] = {}
    for mount in spec.mounts:
        if not mount.read_only:
            if not mount.source.is_dir():
                raise EngineError(f"{mount.source} is to be written on another machine and is no folder")
            planned.append(_Volume(mount.target, [mount], read_only=False))
            continue
        top = "/" + mount.target.strip("/").partition("/")[0]
        if top == mount.target and not mount.source.is_dir():
            raise EngineError(f"{mount.source} is no folder and cannot be sent to another machine as {mount.target}")
        if top not in inputs:
            inputs[top] = _Volume(top, [], read_only=True)
            planned.append(inputs[top])
        inputs[top].mounts.append(mount)
    for volume in inputs.values():
        below = [each.target for each in planned if each.target.startswith(volume.target + "/")]
        volume.content = "" if below else _content_key(volume)
    return planned


def _content_key(volume: _Volume) -> str:
    """Return a digest of what a volume holds where that is known without reading it: all of it is from the store."""
    lines = []
    for mount in volume.mounts:
        source = mount.source.resolve()
        if source.parent.name not in _STORED or _DIGEST.fullmatch(source.name) is None:
            return ""
        lines.append(json.dumps([mount.target, source.parent.name, source.name]))
    return hashlib.sha256("\n".join(["1", *sorted(lines)]).encode()).hexdigest()


def _above(volume: _Volume, mount_points: list[str]) -> list[str]:
    """Return the folders that nobody sends as such, shortest first: those above mounts, and other volumes' places."""
    folders: set[str] = set()
    for target in (*(mount.target for mount in volume.mounts), *(f"{point}/." for point in mount_points)):
        parts = target.strip("/").split("/")
        folders |= {"/" + "/".join(parts[:count]) for count in range(1, len(parts))}
    folders -= {mount.target for mount in volume.mounts}
    return sorted(folders, key=lambda path: (path.count("/"), path))


def _look(client: DockerClient, container: str, path: str, *, timeout: int = 60) -> dict[str, Any] | None:
    """Return what is at a path of a container (name, size, mode, mtime), None where there is nothing."""
    with contextlib.closing(_archive(client, "HEAD", container, path, timeout=timeout)) as answer:
        if answer.status_code != 200:
            return None
        found: dict[str, Any] = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        return found


def _archive(client: DockerClient, method: str, container: str, path: str, **given: Any) -> requests.Response:
    """Call the archive endpoint itself: the SDK has no HEAD, and its GET cannot be closed before the end."""
    api = client.api
    url = f"{api.base_url}/v{api.api_version}/containers/{container}/archive"
    plain = {"Accept-Encoding": "identity"}  # the daemon would compress, and this reads the bytes as they come
    answer: requests.Response = api.request(method, url, params={"path": path}, headers=plain, stream=True, **given)
    return answer
