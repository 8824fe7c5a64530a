"""Push and pull against real registries: plain, with a password, with TLS; and what they say when it cannot be."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DriftError, ReproError, UsageError
from repro_tui.images import inventory
from repro_tui.images.archive import docker_archive
from repro_tui.images.assemble import verify_image
from repro_tui.images.export import export
from repro_tui.images.model import Image
from repro_tui.images.pulled import find_pulled, pull
from repro_tui.images.registry.errors import NotServedError, RegistryError
from repro_tui.images.registry.push import push
from tests.images.image_parts import Parts, sha256
from tests.images.registry_lab import PASSWORD, USER, RealRegistry, digest, image_of, index_of, layer_of

PLATFORM = "linux/amd64"
Start = Callable[..., RealRegistry]
NewStore = Callable[[str], Store]


def log_in(registry: RealRegistry, home: Path, password: str = PASSWORD) -> str:
    """What `docker login` writes; returns the secret as it is in the file."""
    secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
    return secret


def seen(image: Image) -> dict[str, tuple[str, int, str, str]]:
    return {item.path: (item.type, item.mode, item.sha256, item.target) for item in inventory.read(image.inventory)}


@pytest.mark.parametrize("kind", ["plain", "password", "tls", "password and tls"])
def test_what_is_pushed_is_pulled_elsewhere_as_the_same_image(
    kind: str, parts: Parts, new_store: NewStore, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = start(password="password" in kind, tls="tls" in kind)
    if registry.ca is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.ca))
    if "password" in kind:
        log_in(registry, tmp_path / "home")
    image = parts.assemble(new_store("here"))
    reference = push(image, f"{registry.host}/some/small:1.0")
    assert reference == f"{registry.host}/some/small@{image.manifest_digest}"
    told: list[tuple[int, int, str]] = []
    there = new_store("there")
    pulled = pull(reference, PLATFORM, store=there, progress=lambda *each: told.append(each))
    assert (pulled.manifest_digest, pulled.config_digest, pulled.diff_ids) == (
        image.manifest_digest, image.config_digest, image.diff_ids,
    )  # fmt: skip
    assert (pulled.name, pulled.origin, pulled.reference, pulled.index_digest) == ("small", "pulled", reference, "")
    assert [layer.title for layer in pulled.layers] == [layer.title for layer in image.layers]
    assert seen(pulled) == seen(image)
    assert verify_image(pulled) == []
    assert find_pulled(reference, PLATFORM, store=there) == pulled
    total = sum(layer.size_bytes for layer in image.layers)
    assert (total, total, "pulling small") in told


def test_layers_that_are_there_are_not_sent_again(parts: Parts, new_store: NewStore, start: Start) -> None:
    registry = start()
    image = parts.assemble(new_store("here"))
    push(image, f"{registry.host}/one")
    sent = registry.log.count('"PATCH')
    assert sent == len({layer.blob for layer in image.layers}) + 1
    push(image, f"{registry.host}/one:latest")
    assert registry.log.count('"PATCH') == sent


def test_a_pulled_image_is_taken_over_within_its_registry(new_store: NewStore, start: Start) -> None:
    registry = start()
    reference = registry.put(image_of(layer_of(("usr/a", b"a")), compress="gzip"), "from")
    image = pull(reference, PLATFORM, store=new_store("one"))
    pushed = push(image, f"{registry.host}/to:1")
    assert '"PATCH' not in registry.log
    again = pull(pushed, PLATFORM, store=new_store("two"))
    assert (again.manifest_digest, again.diff_ids) == (image.manifest_digest, image.diff_ids)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
def test_of_an_index_the_pinned_platform_is_taken(
    compress: str, docker: bool, new_store: NewStore, start: Start
) -> None:
    registry = start()
    layers = {
        name: layer_of(("usr/which", name.encode())) for name in ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")
    }
    images = {name: image_of(layer, compress=compress, docker=docker, platform=name) for name, layer in layers.items()}
    index = index_of(images, docker=docker)
    reference = registry.put(index, "multi")
    store = new_store("store")
    for asked, name in (("linux/amd64", "linux/amd64"), ("linux/arm64", "linux/arm64/v8")):
        image = pull(reference, asked, store=store)
        assert (image.manifest_digest, image.index_digest) == (images[name].digest, index.digest)
        assert image.diff_ids == (digest(layers[name]),)
        assert (image.root / "usr/which").read_text() == name
        with tarfile.open(fileobj=io.BytesIO(b"".join(docker_archive(image)))) as archive:
            blob = archive.extractfile(image.diff_ids[0].removeprefix("sha256:") + ".tar")
            assert blob is not None
            content = blob.read()
        assert sha256(content) == (image.layers[0].blob if compress == "gzip" else image.diff_ids[0])[7:]
    assert find_pulled(reference, "linux/amd64", store=store) is not None
    direct = find_pulled(f"{registry.host}/multi@{images['linux/amd64'].digest}", "linux/amd64", store=store)
    assert direct is not None
    assert direct.index_digest == ""
    with pytest.raises(DriftError, match="there are: linux/amd64, linux/arm/v7, linux/arm64/v8"):
        pull(reference, "linux/riscv64", store=store)


def test_an_image_for_another_platform_is_refused(new_store: NewStore, start: Start) -> None:
    reference = start().put(image_of(layer_of(("a", b"")), platform="linux/arm64"), "one")
    with pytest.raises(DriftError, match="for linux/arm64, and linux/amd64 is wanted"):
        pull(reference, PLATFORM, store=new_store("store"))


@pytest.mark.parametrize("password", ["", "wrong-pa55word"], ids=["none", "wrong"])
def test_credentials_that_do_not_do_are_named_with_the_way_out_and_never_shown(
    password: str, new_store: NewStore, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = start(password=True)
    secret = log_in(registry, tmp_path / "home", password) if password else "nothing"
    caplog.set_level(logging.DEBUG)
    notices: list[str] = []
    with pytest.raises(RegistryError) as caught:
        pull(f"{registry.host}/a@{digest(b'')}", PLATFORM, store=new_store("store"), notify=notices.append)
    assert caught.value.hint.endswith(f"docker login {registry.host}")
    assert ("does not accept" if password else "there are none") in caught.value.message
    said = "\n".join((caught.value.message, caught.value.where, caught.value.hint, *notices, caplog.text))
    assert secret not in said
    assert not password or password not in said


def test_podman_s_credentials_and_docker_s_helpers_serve_too(
    parts: Parts, new_store: NewStore, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = start(password=True)
    image = parts.assemble(new_store("here"))
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {f"{registry.host}/mine": {"auth": secret}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth))
    push(image, f"{registry.host}/mine/one:1")
    with pytest.raises(RegistryError, match="there are none"):  # those of one part are not for another
        push(image, f"{registry.host}/others/one:1")
    auth.unlink()
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\nread host\necho \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    config = tmp_path / "home" / ".docker" / "config.json"
    config.write_text(json.dumps({"credHelpers": {registry.host: "test"}}))
    with pytest.raises(RegistryError, match="a credential helper failed"):
        push(image, f"{registry.host}/others/one:1")
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    push(image, f"{registry.host}/others/one:1")


def test_a_certificate_that_is_not_trusted_is_named_with_the_places_of_a_ca(
    new_store: NewStore, start: Start, tmp_path: Path
) -> None:
    registry = start(tls=True)
    reference = f"{registry.host}/a@{digest(b'')}"
    with pytest.raises(RegistryError, match="is not trusted") as caught:
        pull(reference, PLATFORM, store=new_store("store"))
    assert "SSL_CERT_FILE" in caught.value.hint
    place = tmp_path / "home" / ".docker" / "certs.d" / registry.host
    place.mkdir(parents=True)
    shutil.copy(registry.folder / "ca.crt", place / "ca.crt")
    with pytest.raises(NotServedError, match="no longer served") as unknown:
        pull(reference, PLATFORM, store=new_store("store"))
    assert "a mirror" in unknown.value.hint
    assert "image.recipe" in unknown.value.hint


def test_a_registry_that_is_not_there_is_told_by_kind(new_store: NewStore, start: Start) -> None:
    store = new_store("store")
    start()
    for host, words in (("127.0.0.1:9", "nothing listens there"), ("nowhere.invalid", "no such host|not resolved")):
        with pytest.raises(RegistryError, match=words):
            pull(f"{host}/a@{digest(b'')}", PLATFORM, store=store)
    with pytest.raises(UsageError, match="a tag can move"):
        pull("127.0.0.1:9/a:latest", PLATFORM, store=store)


def test_an_exported_layout_is_the_same_twice_and_serves_as_a_mirror(
    parts: Parts, new_store: NewStore, tmp_path: Path
) -> None:
    image = parts.assemble(new_store("here"))
    one, two = (export(image, tmp_path / f"{name}.tar") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    folder = export(image, tmp_path / "layout")
    with tarfile.open(one) as archive:
        assert {member.name for member in archive if member.isfile()} == {
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
        }
    with pytest.raises(UsageError, match="there already"):
        export(image, folder)
    reference = f"gone.invalid/small@{image.manifest_digest}"
    there = new_store("there")
    with pytest.raises(ArtifactUnavailableError) as caught:
        pull(reference, PLATFORM, store=there, offline=True)
    assert caught.value.tried == ("the store", "the mirrors", "gone.invalid: offline")
    pulled = pull(reference, PLATFORM, store=there, offline=True, mirrors=[folder])
    assert pulled.diff_ids == image.diff_ids
    victim = next((folder / "blobs/sha256").glob(image.layers[0].blob[7:]))
    victim.write_bytes(b"other bytes")
    with pytest.raises(ReproError, match="has SHA-256"):
        pull(reference, PLATFORM, store=new_store("third"), offline=True, mirrors=[folder])


def test_an_image_assembled_here_is_not_fetched(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    image = parts.assemble(store)
    pulled = pull(f"gone.invalid/small@{image.manifest_digest}", PLATFORM, store=store, offline=True)
    assert pulled.diff_ids == image.diff_ids
    layer = image.layers[0].blob[7:]
    one, other = (each.layout / "blobs/sha256" / layer for each in (image, pulled))
    assert one.samefile(other)  # no byte is kept twice


def test_another_client_finds_the_same_digest(parts: Parts, new_store: NewStore, start: Start, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("there is no program `skopeo` on PATH")
    registry = start()
    image = parts.assemble(new_store("here"))
    reference = push(image, f"{registry.host}/small:1")
    source = f"docker://{reference}"
    command = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", source]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == image.manifest_digest
