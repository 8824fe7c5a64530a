"""pip, apt-get and npm: the real ones where the host has them, stand-ins for their bad days."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.packages import Deb, Wheel
from repro_tui.artifacts.sources import pip as pip_source
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, StoreFullError
from repro_tui.manifest.models import Artifact
from tests.artifacts.artifact_lab import file_artifact, sha256

NETWORK_IS_AWAY = re.compile(
    r"cannot be reached|resolv|unreachable|connection|network|timed out|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|Could not connect",
    re.IGNORECASE,
)


def fetched(fetch: Callable[[], Path]) -> Path:
    """Fetch from a real registry; skip where it is the network that is missing."""
    try:
        return fetch()
    except ArtifactUnavailableError as error:
        if NETWORK_IS_AWAY.search(error.tried[-1]):
            pytest.skip(f"needs the network: {error.tried[-1]}")
        raise


# --- pip, with packages made here -------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, tag: str, text: str = "", version: str = "1.0") -> str:
    """Write an installable wheel and return its digest."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"TAG = {tag + text!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: not-there\n"
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return sha256(path.read_bytes())


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    return folder


@pytest.fixture
def pip_fetcher(store: Store, tmp_path: Path, links: Path) -> Fetcher:
    """A fetcher whose pip knows only the folder `links`, by the host's own way to configure it."""
    if pip_source.find_pip() is None:
        pytest.skip("there is no pip on this host")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(links),
    }
    return Fetcher(store, [], base=tmp_path, environ=environ)


def test_pip_brings_the_wheels_of_the_image_in_one_call(pip_fetcher: Fetcher, links: Path, store: Store) -> None:
    fitting = wheel(links, "native", "cp311-cp311-manylinux_2_28_x86_64")
    others = [wheel(links, "native", f"cp3{minor}-cp3{minor}-manylinux_2_28_x86_64") for minor in (10, 12, 13)]
    stable = wheel(links, "stable", "cp38-abi3-manylinux2014_x86_64")
    pure = wheel(links, "pure", "py3-none-any")
    pins = [
        Wheel("native", "1.0", (*others, fitting)),
        Wheel("Stable", "1.0", (stable,)),
        Wheel("pure", "1.0", (pure, "0" * 64)),
    ]
    assert [path.name for path in pip_fetcher.wheels(pins)] == [fitting, stable, pure]
    assert not any((store.root / "scratch").iterdir())
    shutil.rmtree(links)
    assert [path.name for path in pip_fetcher.wheels(pins)] == [fitting, stable, pure], "now from the store"


def test_a_local_version_is_found(pip_fetcher: Fetcher, links: Path) -> None:
    digest = wheel(links, "torch", "cp311-cp311-manylinux_2_28_x86_64", version="1.0+cpu")
    assert pip_fetcher.wheel("torch", "1.0+cpu", [digest]).name == digest


def test_an_index_that_serves_another_file_is_found_out(pip_fetcher: Fetcher, links: Path) -> None:
    observed = wheel(links, "pure", "py3-none-any", "tampered")
    with pytest.raises(DigestMismatchError) as caught:
        pip_fetcher.wheels([Wheel("pure", "1.0", ("0" * 64,))])
    assert (caught.value.component, caught.value.expected, caught.value.observed) == ("pure", "0" * 64, observed)


def test_a_wheel_that_pip_does_not_know_is_named(pip_fetcher: Fetcher, links: Path) -> None:
    pure = wheel(links, "pure", "py3-none-any")
    mac = wheel(links, "native", "cp311-cp311-macosx_11_0_arm64")
    with pytest.raises(ArtifactUnavailableError) as caught:
        pip_fetcher.wheels([Wheel("pure", "1.0", (pure,)), Wheel("native", "1.0", (mac,))])
    assert caught.value.tried[-1] == "pip: no wheel of native 1.0 that fits the image is found"


def test_a_source_distribution_is_fetched_and_never_run(pip_fetcher: Fetcher, links: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    path = links / "evil-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in (
            ("evil-1.0/setup.py", f"open({str(marker)!r}, 'w').close()\n"),
            ("evil-1.0/data/words.txt", "words\n"),
            ("evil-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    source = {
        "type": "pip",
        "package": "evil",
        "version": "1.0",
        "sdist": True,
        "sha256": sha256(path.read_bytes()),
        "path": "data/words.txt",
    }
    assert pip_fetcher.artifact(file_artifact(b"words\n", source)).read_bytes() == b"words\n"
    assert not marker.exists()
    missing = {**source, "version": "2.0", "sha256": "0" * 64}
    with pytest.raises(ArtifactUnavailableError) as caught:
        pip_fetcher.artifact(file_artifact(b"other", missing))
    assert "no source distribution of evil 2.0" in caught.value.tried[-1]


def test_any_pip_will_do(monkeypatch: pytest.MonkeyPatch, store: Store, links: Path, tmp_path: Path) -> None:
    """A virtual environment without pip (as uv makes them) uses one on PATH, else the one that Python brings along."""
    pip_source.find_pip.cache_clear()
    real = pip_source.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(pip_source.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))  # type: ignore[attr-defined]
    monkeypatch.setattr(pip_source.shutil, "which", lambda *_: None)  # type: ignore[attr-defined]
    try:
        bundled = pip_source.find_pip()
        if bundled is None:
            pytest.skip("this Python was built without ensurepip's wheel")
        assert "ensurepip" in bundled.library
        wheel(links, "pure", "py3-none-any")
        told = subprocess.run([*bundled.command, "--version"], capture_output=True, text=True, check=True).stdout
        assert told.startswith("pip ")
    finally:
        pip_source.find_pip.cache_clear()


def test_no_pip_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch, pip_fetcher: Fetcher) -> None:
    monkeypatch.setattr(pip_source, "find_pip", lambda: None)
    with pytest.raises(ArtifactUnavailableError) as caught:
        pip_fetcher.wheels([Wheel("pure", "1.0", ("0" * 64,))])
    assert "no pip" in caught.value.tried[-1]
    assert "ensurepip" in caught.value.hint


# --- the real registries, one small package each ----------------------------------------------------------------------


def test_pip_as_the_host_has_it(store: Store, tmp_path: Path) -> None:
    digest = "946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3"
    path = fetched(lambda: Fetcher(store, [], base=tmp_path).wheel("idna", "3.10", [digest, "0" * 64]))
    assert sha256(path.read_bytes()) == digest


def test_npm_as_the_host_has_it(store: Store, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    artifact = Artifact.model_validate(
        {
            "name": "left-pad",
            "kind": "data",
            "path": "left-pad.json",
            "sha256": "1eb356b6e5d3f5568ee627131293fe4ecfac6b8023222573f39aa49e108d42c4",
            "bytes": 646,
            "sources": [
                {
                    "type": "npm",
                    "package": "left-pad",
                    "version": "1.3.0",
                    "sha256": "870c0fe1096223a58d4f8832d08a7e651ea2fcadb8e6877b2fdc26b662d481dd",
                    "path": "package/package.json",
                }
            ],
        }
    )
    assert b'"left-pad"' in fetched(lambda: Fetcher(store, [], base=tmp_path).artifact(artifact)).read_bytes()


def test_apt_as_the_host_has_it(store: Store, tmp_path: Path) -> None:
    release = Path("/etc/os-release")
    if shutil.which("apt-get") is None or not release.exists() or "bookworm" not in release.read_text():
        pytest.skip("the host's apt-get does not know Debian 12")
    netbase = Deb("netbase", "6.4", "all", "29b23c48c0fe6f878e56c5ddc9f65d1c05d729360f3690a593a8c795031cd867")
    keyutils = Deb(
        "libkeyutils1", "1.6.3-2", "amd64", "cfac89e6a7a54ff3c6a4f843310e25efeddaa771baeae470bd98bd588c373563"
    )
    fetcher = Fetcher(store, [], base=tmp_path)
    fetched(lambda: fetcher.debs([netbase, keyutils])[0])
    assert [path.name for path in fetcher.debs([netbase, keyutils])] == [netbase.sha256, keyutils.sha256]
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.deb("netbase", "0.0.1", "all", "1" * 64)
    assert "netbase" in caught.value.tried[-1]
    assert "--debian-mirror" in caught.value.hint


# --- stand-ins for bad days -------------------------------------------------------------------------------------------


def stand_in(tmp_path: Path, name: str, script: str) -> dict[str, str]:
    """Put a program before the real one on PATH, and return the environment."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def npm_source(digest: str = "1" * 64) -> dict[str, Any]:
    return {"type": "npm", "package": "@scope/corpus", "version": "1.0.0", "sha256": digest, "path": "package/a"}


def test_a_client_that_fills_the_disk_is_a_full_disk(store: Store, tmp_path: Path) -> None:
    environ = stand_in(
        tmp_path, "npm", "echo 'npm error code ENOSPC' >&2; echo 'npm error nospc no space left' >&2; exit 1"
    )
    with pytest.raises(StoreFullError):
        Fetcher(store, [], base=tmp_path, environ=environ).artifact(file_artifact(b"x", npm_source()))


def test_what_a_client_says_is_shown_without_credentials(store: Store, tmp_path: Path) -> None:
    environ = stand_in(
        tmp_path, "npm", "echo progress; echo 'npm error 404 at http://me:secret@127.0.0.1/x' >&2; exit 1"
    )
    with pytest.raises(ArtifactUnavailableError) as caught:
        Fetcher(store, [], base=tmp_path, environ=environ).artifact(file_artifact(b"x", npm_source()))
    assert caught.value.tried[-1].endswith("404 at http://127.0.0.1/x")


def test_a_client_that_serves_other_bytes_is_found_out(store: Store, tmp_path: Path) -> None:
    environ = stand_in(
        tmp_path, "npm", 'while [ "$1" != --pack-destination ]; do shift; done; printf tampered > "$2/x.tgz"'
    )
    with pytest.raises(DigestMismatchError) as caught:
        Fetcher(store, [], base=tmp_path, environ=environ).artifact(file_artifact(b"x", npm_source()))
    assert (caught.value.component, caught.value.observed) == ("@scope/corpus 1.0.0", sha256(b"tampered"))


def test_the_lists_of_packages_are_kept_and_renewed_when_a_version_is_unknown(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    known = tmp_path / "known"
    script = f"""
        for last in "$@"; do :; done
        echo "$last" >> {log}
        case "$last" in
            update) exit 0;;
            *) [ -e {known} ] || {{ touch {known}; echo "E: Version '2' for 'thing' was not found" >&2; exit 100; }}
               printf deb-$last > thing_2_all.deb;;
        esac
        """
    fetcher = Fetcher(store, [], base=tmp_path, environ=stand_in(tmp_path, "apt-get", script))
    (store.folder("apt", "host")).mkdir(parents=True)
    (store.folder("apt", "host") / "updated").touch()
    digest = hashlib.sha256(b"deb-thing=2").hexdigest()
    assert fetcher.deb("thing", "2", "all", digest).read_bytes() == b"deb-thing=2"
    assert log.read_text().split() == ["thing=2", "update", "thing=2"]


def test_a_client_does_not_outlive_a_killed_run(store: Store, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can tie a client to its run")
    pid_file = tmp_path / "pid"
    environ = stand_in(tmp_path, "npm", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60")
    code = """
import sys
from pathlib import Path
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.manifest.models import Artifact
Fetcher(Store(Path(sys.argv[1])), [], base=Path()).artifact(Artifact.model_validate_json(sys.argv[2]))
"""
    artifact = file_artifact(b"x", npm_source()).model_dump_json()
    run = subprocess.Popen([sys.executable, "-c", code, str(store.root), artifact], env=environ)
    while not pid_file.exists():
        assert run.poll() is None
        time.sleep(0.02)
    run.kill()
    run.wait()
    client = int(pid_file.read_text())
    for _ in range(100):
        if not alive(client):
            break
        time.sleep(0.02)
    else:
        os.kill(client, signal.SIGKILL)
        pytest.fail("the client is still running")


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
