"""The shipped base with two small wheels, in the real sandbox: Python starts, and byte code is reproducible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import Store, default_store_path, remove_tree
from repro_tui.engines.embedded import EmbeddedEngine, run_in_root
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.images.assemble import assemble, verify_image
from repro_tui.images.model import Image
from repro_tui.images.recipe import find_recipe, load_recipe
from tests.images.image_parts import WHEELS, Parts, digests

pytestmark = pytest.mark.engine

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}

ASK = """
import bz2, ctypes, hashlib, json, locale, lzma, os, pwd, readline, sqlite3, ssl, sys, time, uuid, zlib, zoneinfo
locale.setlocale(locale.LC_ALL, "")
import alpha, beta
import importlib.metadata
json.dump({
    "version": sys.version_info[:2], "user": pwd.getpwuid(os.getuid()).pw_name, "locale": locale.nl_langinfo(locale.CODESET),
    "authorities": len(ssl.create_default_context().get_ca_certs()), "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")),
    "local": time.tzname[0], "packages": sorted(d.name for d in importlib.metadata.distributions()),
    "cached": os.path.exists(alpha.__cached__), "links": [os.path.exists(p) for p in ("/bin/sh", "/usr/bin/awk", "/lib64")],
}, open("/out/answer.json", "w"))
"""


class Lab:
    """A recipe, and the packages that it needs, in stores of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = Parts(folder)
        shipped = find_recipe("torch-cpu")
        self.parts.write({}, {name: WHEELS[name] for name in ("alpha", "beta")})
        for source in (shipped.path, shipped.base_lock):
            shutil.copy(source, folder / "small" / source.name)

    def assemble(self, name: str, processes: int) -> Image:
        store = Store(self.folder / name)
        kept = [folder / "blobs" for folder in (default_store_path(), self.folder / "first") if folder.is_dir()]
        fetcher = Fetcher(store, [self.parts.mirror, *mirrors_from([]), *kept], base=self.folder)
        try:
            return assemble(
                load_recipe(self.folder / "small" / "image.toml"), self.parts.lock, store=store, fetcher=fetcher,
                run_in_root=run_in_root, processes=processes, log=self.folder / "log",
            )  # fmt: skip
        except ArtifactUnavailableError as error:
            pytest.skip(f"the base's packages cannot be had here: {error.message}")
        finally:
            store.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    availability = EmbeddedEngine().availability()
    if not availability.ok:
        pytest.skip(f"the embedded engine does not work here: {availability.reason}")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    remove_tree(lab.folder)


@pytest.fixture(scope="module")
def image(lab: Lab) -> Image:
    return lab.assemble("first", processes=1)


def test_python_of_the_image_finds_everything(lab: Lab, image: Image) -> None:
    out = lab.folder / "out"
    out.mkdir()
    out.chmod(0o777)
    argv = ["python3", "-c", ASK]
    log = lab.folder / "ask.log"
    code = run_in_root(image.root, argv, environment=ENVIRONMENT, mounts=[(out, "/out", False)], log=log)
    assert code == 0, log.read_text()
    answer = json.loads((out / "answer.json").read_text())
    assert answer.pop("authorities") > 100
    assert answer == {
        "version": [3, 11],
        "user": "repro",
        "locale": "UTF-8",
        "zone": "Europe/Berlin",
        "local": "UTC",
        "packages": ["alpha", "beta"],
        "cached": True,
        "links": [True, True, True],
    }


def test_no_link_of_the_image_leads_nowhere(image: Image) -> None:
    inside = {path.relative_to(image.root) for path in image.root.rglob("*")}
    broken = []
    for path in sorted(inside):
        if (image.root / path).is_symlink():
            target = Path("/") / path.parent / (image.root / path).readlink()
            resolved = resolve(image.root, target)
            if not (resolved.exists() or str(target).startswith(("/proc/", "/run"))):
                broken.append(f"{path} -> {target}")
    assert broken == []


def resolve(root: Path, path: Path, depth: int = 0) -> Path:
    """Follow links as a process with this root would."""
    assert depth < 40, path
    place = root
    parts = path.parts[1:]
    for number, part in enumerate(parts):
        place = place.parent if part == ".." else place / part
        if place.is_symlink():
            target = place.readlink()
            start = Path("/") if target.is_absolute() else Path("/") / place.parent.relative_to(root)
            return resolve(root, start.joinpath(target, *parts[number + 1 :]), depth + 1)
    return place


def test_byte_code_does_not_depend_on_how_many_processes_made_it(lab: Lab, image: Image) -> None:
    assert digests(lab.assemble("second", processes=3)) == digests(image)
    assert verify_image(image) == []
