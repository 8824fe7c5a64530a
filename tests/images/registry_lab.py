"""Real registries on loopback, one that misbehaves, and small images to put into them."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from repro_tui.images import layout
from repro_tui.images.registry import media

USER, PASSWORD = "reader", "s3cret-pa55word"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- images -----------------------------------------------------------------------------------------------------------


def layer_of(
    *members: tuple[str, Any], modes: Mapping[str, int] | None = None, owners: Mapping[str, int] | None = None
) -> bytes:
    """A tar: bytes are a file, None a folder, text a link, ("hard", target) a hard link, a tar type a special file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = 1_600_000_000, 0o755 if value is None else 0o644
            if value is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
            elif isinstance(value, tuple):
                info.type, info.linkname = value if value[0] != "hard" else (tarfile.LNKTYPE, value[1])
            else:
                info.size = len(value)
            info.mode = (modes or {}).get(name, info.mode)
            info.uid = info.gid = (owners or {}).get(name, 0)
            archive.addfile(info, io.BytesIO(value) if isinstance(value, bytes) else None)
    return buffer.getvalue()


@dataclass
class MadeImage:
    """An image as a registry holds it: every blob and manifest by digest."""

    manifest: bytes
    config: bytes
    blobs: dict[str, bytes]
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest(self.manifest)


def image_of(
    *layers: bytes,
    compress: str = "",
    docker: bool = False,
    platform: str = "linux/amd64",
    diff_ids: list[str] | None = None,
) -> MadeImage:
    """An image of some layers, plain or compressed, in OCI's media types or in Docker's."""
    stored = [_compressed(layer, compress) for layer in layers]
    system, architecture, *variant = platform.split("/")
    body: dict[str, Any] = {
        "os": system, "architecture": architecture, "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest(layer) for layer in layers]},
        "history": [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}],
    }  # fmt: skip
    if variant:
        body["variant"] = variant[0]
    config = json.dumps(body).encode()
    kind = f"+{compress}" if compress else ""
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar" + kind.replace("+", ".")
        if docker
        else f"application/vnd.oci.image.layer.v1.tar{kind}"
    )
    manifest_type = media.DOCKER_MANIFEST if docker else layout.MEDIA_MANIFEST
    manifest = json.dumps(
        {
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": {"mediaType": media.DOCKER_CONFIG if docker else layout.MEDIA_CONFIG, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": layer_type, "digest": digest(data), "size": len(data)} for data in stored],
        }
    ).encode()  # fmt: skip
    blobs = {digest(data): data for data in (config, *stored)}
    return MadeImage(manifest, config, blobs, {digest(manifest): (manifest_type, manifest)})


def index_of(images: Mapping[str, MadeImage], *, docker: bool = False) -> MadeImage:
    """A multi-platform index, by platform."""
    entries = []
    for platform, image in images.items():
        system, architecture, *variant = platform.split("/")
        named = {"os": system, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        kind = image.manifests[image.digest][0]
        entries.append({"mediaType": kind, "digest": image.digest, "size": len(image.manifest), "platform": named})
    kind = media.DOCKER_INDEX if docker else layout.MEDIA_INDEX
    data = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    made = MadeImage(data, b"", {}, {})
    for image in images.values():
        made.blobs |= image.blobs
        made.manifests |= image.manifests
    made.manifests[made.digest] = (kind, data)
    return made


def _compressed(data: bytes, how: str) -> bytes:
    if how == "zstd":
        if shutil.which("zstd") is None:
            pytest.skip("there is no program `zstd` on PATH to compress a layer with")
        return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
    return gzip.compress(data, mtime=0) if how == "gzip" else data


# --- a real registry --------------------------------------------------------------------------------------------------


@dataclass
class RealRegistry:
    """A docker-registry that this test started; `host` is what references begin with."""

    host: str
    folder: Path
    ca: Path | None

    def put(self, image: MadeImage, repository: str) -> str:
        """Store an image by the plain protocol (of a registry without password and TLS); return its reference."""
        base = f"http://{self.host}/v2/{repository}"
        for name, data in image.blobs.items():
            with urllib.request.urlopen(urllib.request.Request(f"{base}/blobs/uploads/", method="POST")) as answer:
                location = answer.headers["Location"]
            self._put(f"{location}&digest={name}", data, "application/octet-stream")
        for name, (kind, data) in image.manifests.items():
            self._put(f"{base}/manifests/{name}", data, kind)
        return f"{self.host}/{repository}@{image.digest}"

    def _put(self, url: str, data: bytes, kind: str) -> None:
        request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": kind})
        urllib.request.urlopen(request).close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_registry(
    folder: Path, *, password: bool = False, tls: bool = False
) -> tuple[RealRegistry, subprocess.Popen[bytes]]:
    """Start a registry and wait until it answers; the caller ends it."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("there is no program `docker-registry` on PATH (Debian's package docker-registry)")
    folder.mkdir()
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if password:
        (folder / "htpasswd").write_text(htpasswd_line() + "\n")
        config["auth"] = {"htpasswd": {"realm": "Registry Realm", "path": str(folder / "htpasswd")}}
    if tls:
        make_certificates(folder)
        config["http"]["tls"] = {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML too
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return RealRegistry(f"127.0.0.1:{port}", folder, folder / "ca.crt" if tls else None), process
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"docker-registry does not start: {(folder / 'log').read_text()}")


def htpasswd_line() -> str:
    if (program := shutil.which("htpasswd")) is None:
        pytest.skip(
            "there is no program `htpasswd` on PATH (Debian's package apache2-utils) to write a bcrypt line with"
        )
    return subprocess.run([program, "-Bbn", USER, PASSWORD], capture_output=True, text=True, check=True).stdout.strip()


def make_certificates(folder: Path) -> None:
    """A CA, and a certificate of it for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no program `openssl` on PATH to make certificates with")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)

    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA", "-keyout", "ca.key",
            "-out", "ca.crt", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"
    )
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "server.crt")  # fmt: skip


# --- one that misbehaves ----------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A request that came, and how many bytes of the body went out."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    sent: int = 0


Answer = Callable[["Handler", Asked], bool]
"""Answers a request itself and says True, or leaves it to the registry."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one image's blobs and manifests, after `server.fault` had its say."""

    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
        self.server.asked.append(asked)
        if self.server.fault(self, asked):
            return
        name = self.path.rpartition("/")[2]
        image = self.server.image
        if name in image.manifests and "/manifests/" in self.path:
            kind, data = image.manifests[name]
            self.answer(200, data, {"Content-Type": kind})
        elif name in image.blobs:
            self.blob(asked, image.blobs[name])
        else:
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

    do_POST = do_HEAD = do_GET  # noqa: N815 - the base class decides

    def blob(self, asked: Asked, data: bytes, *, stop_at: int | None = None, total: int | None = None) -> None:
        """Serve a blob or the rest of it, and cut the connection after `stop_at` bytes of it."""
        given = self.headers.get("Range")
        start = int(given.removeprefix("bytes=").partition("-")[0]) if given else 0
        self.send_response(206 if given else 200)
        if given:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(total if total is not None else len(data) - start))
        self.end_headers()
        part = data[start : len(data) if stop_at is None else stop_at]
        asked.sent = len(part)
        self.wfile.write(part)
        if stop_at is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, data: bytes = b"", headers: Mapping[str, str] | None = None) -> bool:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return True


class FakeServer(http.server.ThreadingHTTPServer):
    """A registry of one image; `fault` may answer before it does."""

    daemon_threads = True

    def __init__(self, image: MadeImage) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.image = image
        self.asked: list[Asked] = []
        self.fault: Answer = lambda _handler, _asked: False
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def reference(self) -> str:
        return f"{self.host}/some/image@{self.image.digest}"

    def handle_error(self, *_: object) -> None:
        """A client that leaves is what these tests are about."""

    def of(self, name: str) -> list[Asked]:
        """The requests for a blob or manifest."""
        return [asked for asked in self.asked if asked.path.endswith(name)]

    def end(self) -> None:
        self.shutdown()
        self.server_close()
