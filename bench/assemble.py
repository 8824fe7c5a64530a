"""Assembling torch-cpu against `docker build` with pip of the same lock, and assembling it again.

Neither side waits for a network: our side has the distributions in its store, Docker's side has the wheels in the base
image. Our side is timed until Python has started in the embedded engine, Docker's until it has started in a container.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common import Figure, SkipBenchmark, alternate, median, spread
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import Store
from repro_tui.engines.docker import DockerEngine, Endpoint
from repro_tui.engines.embedded import run_in_root
from repro_tui.images.assemble import assemble, plan
from repro_tui.images.locks import LockedWheel
from repro_tui.images.model import Image
from repro_tui.images.recipe import find_lock, find_recipe

if TYPE_CHECKING:
    import docker

NAME = "torch-cpu"
_ROUNDS = 3
_TAG = "repro-tui-bench"
_DOCKERFILE = f"""\
FROM {_TAG}-base
ENV PYTHONPATH=/opt/pip
RUN python3 -m pip install --quiet --no-index --find-links /opt/wheels --no-deps --require-hashes \
    --break-system-packages --root-user-action ignore --disable-pip-version-check -r /opt/wheels/lock.txt
"""


def measure() -> list[Figure]:
    """Alternate assembly and build; then assemble again with nothing changed."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name:
        ours = Ours(Path(name))
        figures = ours.again()
        try:
            theirs = Theirs(ours)
        except SkipBenchmark as skip:
            (seconds,) = alternate([ours.assemble], _ROUNDS)
            print(f"SKIP  assembling {NAME} / docker build: {skip}; assembling took {spread(seconds)}", flush=True)
            return figures
        try:
            assembled, built = alternate([ours.assemble, theirs.build], _ROUNDS)
        finally:
            theirs.remove()
        return [
            Figure(
                name=f"assembling {NAME} / docker build with pip",
                value=median(assembled) / median(built),
                limit=0.5,
                unit="times",
                detail=f"{spread(assembled, 1)} against {spread(built, 1)}, {_ROUNDS} rounds, downloads cached",
            ),
            *figures,
        ]


class Ours:
    """The assembler with a store of its own, that holds every distribution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounds = 0
        self.store = Store(folder / "store")
        self.recipe = find_recipe(NAME)
        self.lock = find_lock(NAME)
        self.fetcher = Fetcher(self.store, mirrors_from([]), base=folder)
        self.image = self._make()

    def _make(self) -> Image:
        return assemble(
            self.recipe, self.lock, store=self.store, fetcher=self.fetcher, run_in_root=run_in_root,
        )  # fmt: skip

    def wheels(self) -> list[tuple[LockedWheel, Path]]:
        """Return every wheel of the lock, with the file in the store."""
        locked = plan(self.recipe, self.lock).wheels
        return list(zip(locked, self.fetcher.wheels(locked), strict=True))

    def assemble(self) -> None:
        """Assemble from distributions alone, and start Python in the result."""
        for kind in ("images", "layers"):  # moved away, not removed: that is no part of assembling
            folder = self.store.folder(kind, "0" * 64).parent
            folder.rename(self.folder / f"{kind}-{self.rounds}")
        self.rounds += 1
        self.image = self._make()
        argv = ["/usr/bin/python3", "-c", "pass"]
        code = run_in_root(self.image.root, argv, environment={"PATH": "/usr/bin"}, mounts=[], log=self.folder / "log")
        if code != 0:
            raise SkipBenchmark(f"the assembled image does not start in the embedded engine (exit code {code})")

    def again(self) -> list[Figure]:
        """Measure the same call with nothing changed."""
        (seconds,) = alternate([self._make], 7)
        return [
            Figure(
                name=f"assembling {NAME} again, nothing changed",
                value=median(seconds),
                limit=0.5,
                unit="s",
                detail=f"{spread(seconds, 3)}, 7 rounds",
            )
        ]


class Theirs:
    """Docker's classic build of the same wheels with pip, on a base image that holds them already."""

    def __init__(self, ours: Ours) -> None:
        answer = DockerEngine().availability()
        if not answer.ok:
            raise SkipBenchmark(f"Docker: {answer.reason}")
        self.client: docker.DockerClient = Endpoint.find().connect()
        self._load_base(ours.image.layers[0].digest, ours)

    def _load_base(self, base_digest: str, ours: Ours) -> None:
        """Import our base layer, with the wheels, the lock and this environment's pip added to it."""
        content = ours.folder / "base.tar"
        shutil.copyfile(ours.image.layout / "blobs" / "sha256" / base_digest.removeprefix("sha256:"), content)
        wheels = ours.wheels()
        with tarfile.open(content, "a") as archive:
            for locked, path in wheels:
                archive.add(path, f"opt/wheels/{_wheel_name(path, locked)}")
            lines = [f"{locked.name}=={locked.version} --hash=sha256:{path.name}\n" for locked, path in wheels]
            _add_text(archive, "opt/wheels/lock.txt", lines)
            import pip

            archive.add(Path(pip.__file__).parent, "opt/pip/pip", filter=_without_byte_code)
        self.client.api.import_image(src=str(content), repository=f"{_TAG}-base")

    def build(self) -> None:
        """Build with the classic builder and no cache, and start Python in the result."""
        self.client.images.build(
            fileobj=io.BytesIO(_DOCKERFILE.encode()), tag=_TAG, nocache=True, rm=True, forcerm=True
        )
        self.client.containers.run(_TAG, ["python3", "-c", "pass"], remove=True, network_mode="none")

    def remove(self) -> None:
        """Remove both images."""
        for name in (_TAG, f"{_TAG}-base"):
            self.client.images.remove(name, force=True)
        self.client.close()


def _wheel_name(path: Path, locked: LockedWheel) -> str:
    """Return the file name pip wants, from the wheel's own metadata."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        lines = archive.read(member).decode().splitlines()
    tags = [line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")]
    return f"{member.partition('.dist-info')[0]}-{_joined(tags)}.whl" if tags else f"{locked.name}.whl"


def _joined(tags: Sequence[str]) -> str:
    """Compress the tags of one wheel into a file name's three parts (PEP 425)."""
    columns = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(column)) for column in columns)


def _add_text(archive: tarfile.TarFile, name: str, lines: Sequence[str]) -> None:
    body = "".join(lines).encode()
    member = tarfile.TarInfo(name)
    member.size = len(body)
    archive.addfile(member, io.BytesIO(body))


def _without_byte_code(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member
