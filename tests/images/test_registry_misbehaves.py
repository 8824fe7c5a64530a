"""A registry that cuts, lies, redirects, refuses for a while, or sells tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.errors import DigestMismatchError, DriftError
from repro_tui.images import layout
from repro_tui.images.pulled import pull
from repro_tui.images.registry.credentials import Credentials, find_credentials
from repro_tui.images.registry.errors import NotServedError, RegistryError
from repro_tui.images.registry.push import push
from repro_tui.images.registry.reference import Reference
from repro_tui.images.registry.tokens import Challenge, choose
from tests.images.image_parts import noise
from tests.images.registry_lab import Asked, FakeServer, Handler, MadeImage, digest, image_of, layer_of

PLATFORM = "linux/amd64"
BIG = layer_of(("usr/big", noise(400_000)))
IMAGE = image_of(BIG)
LAYER = digest(BIG)
Fake = Callable[[MadeImage], FakeServer]
NewStore = Callable[[str], Store]


def is_layer(asked: Asked) -> bool:
    return asked.path.endswith(f"/blobs/{LAYER}")


def test_a_cut_download_goes_on_where_it_was_cut(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    cuts = [100_000, 250_000, 250_001]

    def cut(handler: Handler, asked: Asked) -> bool:
        if not is_layer(asked) or not cuts:
            return False
        handler.blob(asked, BIG, stop_at=cuts.pop(0))
        return True

    server.fault = cut
    notices: list[str] = []
    image = pull(server.reference, PLATFORM, store=new_store("store"), notify=notices.append)
    assert image.diff_ids == (LAYER,)
    ranges = [asked.headers.get("Range", "") for asked in server.of(LAYER)]
    assert ranges == ["", "bytes=100000-", "bytes=250000-", "bytes=250001-"]
    assert sum(asked.sent for asked in server.of(LAYER)) == len(BIG)  # no byte came twice
    assert len(notices) == 3


def test_what_an_earlier_process_fetched_is_gone_on_with(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")
    store.partial(LAYER[7:]).write_bytes(BIG[:300_000])
    pull(server.reference, PLATFORM, store=store)
    assert [asked.headers.get("Range", "") for asked in server.of(LAYER)] == ["bytes=300000-"]


def test_a_partial_file_with_other_bytes_is_fetched_anew(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")
    store.partial(LAYER[7:]).write_bytes(b"x" * 300_000)
    pull(server.reference, PLATFORM, store=store)
    assert [asked.headers.get("Range", "") for asked in server.of(LAYER)] == ["bytes=300000-", ""]


def test_a_server_without_ranges_begins_anew(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")
    store.partial(LAYER[7:]).write_bytes(BIG[:300_000])
    server.fault = lambda handler, asked: is_layer(asked) and handler.answer(200, BIG)
    assert pull(server.reference, PLATFORM, store=store).diff_ids == (LAYER,)


def test_a_server_that_always_cuts_is_given_up_and_what_came_is_kept(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")

    def cut(handler: Handler, asked: Asked) -> bool:
        if is_layer(asked):
            handler.blob(asked, BIG, stop_at=50_000)
        return is_layer(asked)

    server.fault = cut
    with pytest.raises(RegistryError, match=r"after 50000 of|was cut"):
        pull(server.reference, PLATFORM, store=store)
    assert store.partial(LAYER[7:]).read_bytes() == BIG[:50_000]
    assert list((store.root / "scratch").iterdir()) == []


def test_other_bytes_are_named_with_both_digests_and_not_kept(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")
    other = bytes(len(BIG))
    server.fault = lambda handler, asked: is_layer(asked) and handler.answer(200, other)
    with pytest.raises(DigestMismatchError) as caught:
        pull(server.reference, PLATFORM, store=store)
    assert (caught.value.expected, caught.value.observed) == (LAYER[7:], hashlib.sha256(other).hexdigest())
    assert not store.partial(LAYER[7:]).exists()
    assert not store.has_blob(LAYER[7:])


def test_a_manifest_with_other_bytes_is_refused(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    server.fault = lambda handler, asked: "/manifests/" in asked.path and handler.answer(200, b"{}")
    with pytest.raises(DigestMismatchError, match="the manifest"):
        pull(server.reference, PLATFORM, store=new_store("store"))


@pytest.mark.parametrize("size", [len(BIG) - 1, len(BIG) + 1, 1 << 40])
def test_another_size_than_the_manifest_s_is_refused_at_once(size: int, fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)

    def lie(handler: Handler, asked: Asked) -> bool:
        if is_layer(asked):
            handler.blob(asked, BIG, stop_at=0, total=size)
        return is_layer(asked)

    server.fault = lie
    with pytest.raises(DriftError, match=f"serves {size} bytes"):
        pull(server.reference, PLATFORM, store=new_store("store"))


def test_a_stream_without_a_size_is_not_read_past_the_descriptor_s(fake: Fake, new_store: NewStore) -> None:
    server, store = fake(IMAGE), new_store("store")

    def endless(handler: Handler, asked: Asked) -> bool:
        if not is_layer(asked):
            return False
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 20))
            asked.sent += 1 << 20
        return True

    server.fault = endless
    with pytest.raises(DriftError, match="serves more bytes"):
        pull(server.reference, PLATFORM, store=store)
    assert server.of(LAYER)[0].sent < 100 << 20


def test_a_manifest_may_have_4_mib(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    server.fault = lambda handler, asked: "/manifests/" in asked.path and handler.answer(200, bytes(5 << 20))
    with pytest.raises(DriftError, match="more than 4 MiB"):
        pull(server.reference, PLATFORM, store=new_store("store"))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refusal_that_passes_is_waited_for(status: int, fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    left = [status, status]
    server.fault = lambda handler, asked: is_layer(asked) and bool(left) and handler.answer(left.pop())
    assert pull(server.reference, PLATFORM, store=new_store("store")).diff_ids == (LAYER,)
    assert len(server.of(LAYER)) == 3


def test_a_limit_that_does_not_pass_is_told_as_one(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    server.fault = lambda handler, _asked: handler.answer(429, b"", {"Retry-After": "0"})
    with pytest.raises(RegistryError, match="limits how often it is asked") as caught:
        pull(server.reference, PLATFORM, store=new_store("store"))
    assert "wait, or log in" in caught.value.hint


def test_a_redirect_does_not_take_the_credentials_along(
    fake: Fake, new_store: NewStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="repro_tui")
    registry, storage = fake(IMAGE), fake(IMAGE)
    secret = base64.b64encode(b"somebody:s3cret").decode()
    config = tmp_path / "home" / ".docker" / "config.json"
    config.write_text(
        json.dumps({"auths": {registry.host: {"auth": secret}, storage.host: {"auth": "b3RoZXI6b3RoZXI="}}})
    )

    def guard(handler: Handler, asked: Asked) -> bool:
        if asked.headers.get("Authorization") != f"Basic {secret}":
            return handler.answer(401, b"", {"WWW-Authenticate": 'Basic realm="here"'})
        if is_layer(asked):
            return handler.answer(307, b"", {"Location": f"http://{storage.host}{asked.path}?signature=hidden"})
        return False

    registry.fault = guard

    def store_blob(handler: Handler, asked: Asked) -> bool:
        handler.blob(asked, BIG)
        return asked.path.endswith("?signature=hidden")

    storage.fault = store_blob
    image = pull(registry.reference, PLATFORM, store=new_store("store"))
    assert image.diff_ids == (LAYER,)
    assert storage.asked
    assert not any("Authorization" in asked.headers for asked in storage.asked)
    storage.fault = lambda handler, _asked: handler.answer(403)
    with pytest.raises(RegistryError) as caught:
        pull(registry.reference, PLATFORM, store=new_store("other"))
    said = "\n".join((caught.value.message, caught.value.where, caught.value.hint, str(caught.value), caplog.text))
    assert "hidden" not in said
    assert secret not in said
    assert "s3cret" not in said


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", ""])
def test_a_redirect_elsewhere_is_not_followed(location: str, fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    where = location or f"http://{server.host}/v2/some/image/blobs/{LAYER}"
    server.fault = lambda handler, asked: is_layer(asked) and handler.answer(302, b"", {"Location": where})
    with pytest.raises(RegistryError, match="redirects"):
        pull(server.reference, PLATFORM, store=new_store("store"))


class TokenSeller:
    """Wants a token for everything, and sells it for a password, an identity token, or nothing."""

    def __init__(self, server: FakeServer, *, price: str) -> None:
        self.server = server
        self.price = price
        self.sold: list[tuple[str, dict[str, list[str]]]] = []
        self.valid: set[str] = set()

    def __call__(self, handler: Handler, asked: Asked) -> bool:
        if asked.path.startswith("/token"):
            query = parse_qs(urlsplit(asked.path).query or asked.body.decode())
            given = asked.headers.get("Authorization") or query.get("refresh_token", [""])[0]
            if given != self.price:
                return handler.answer(401)
            token = f"token-{len(self.sold)}"
            self.sold.append((asked.method, query))
            self.valid.add(token)
            return handler.answer(200, json.dumps({"token": token}).encode())
        if asked.headers.get("Authorization", "").removeprefix("Bearer ") in self.valid:
            return False
        realm = f"http://{self.server.host}/token"
        words = f'Bearer realm="{realm}",service="the service",scope="repository:some/image:pull"'
        return handler.answer(401, b"", {"WWW-Authenticate": words})


@pytest.mark.parametrize("price", ["nothing", "password", "identity token"])
def test_tokens_are_bought(price: str, fake: Fake, new_store: NewStore, tmp_path: Path) -> None:
    server = fake(IMAGE)
    auth = base64.b64encode(b"me:pw").decode()
    entry = {"auth": auth} if price == "password" else {"identitytoken": "refresh-me"}
    if price != "nothing":
        config = tmp_path / "home" / ".docker" / "config.json"
        config.write_text(json.dumps({"auths": {server.host: entry}}))
    seller = TokenSeller(server, price={"nothing": "", "password": f"Basic {auth}"}.get(price, "refresh-me"))
    server.fault = seller
    assert pull(server.reference, PLATFORM, store=new_store("store")).diff_ids == (LAYER,)
    assert len(seller.sold) == 1  # one for all blobs
    method, query = seller.sold[0]
    assert method == ("POST" if price == "identity token" else "GET")
    assert (query["service"], query["scope"]) == (["the service"], ["repository:some/image:pull"])


def test_a_token_that_expires_in_between_is_bought_again(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    seller = TokenSeller(server, price="")

    def expire(handler: Handler, asked: Asked) -> bool:
        if is_layer(asked) and len(seller.sold) == 1:
            seller.valid.clear()
        return seller(handler, asked)

    server.fault = expire
    assert pull(server.reference, PLATFORM, store=new_store("store")).diff_ids == (LAYER,)
    assert len(seller.sold) == 2


def test_a_token_that_is_not_sold_is_told_with_the_way_out(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    server.fault = TokenSeller(server, price="Basic other")
    with pytest.raises(RegistryError, match="there are none") as caught:
        pull(server.reference, PLATFORM, store=new_store("store"))
    assert caught.value.hint == f"log in: docker login {server.host}"


def test_a_layer_that_unpacks_to_something_else_is_refused(fake: Fake, new_store: NewStore) -> None:
    server = fake(image_of(BIG, compress="gzip", diff_ids=[digest(b"another")]))
    store = new_store("store")
    with pytest.raises(DriftError, match=f"unpacks to {LAYER}"):
        pull(server.reference, PLATFORM, store=store)
    assert list((store.root / "derived" / "images").iterdir()) == []


def test_an_artifact_is_no_image(fake: Fake, new_store: NewStore) -> None:
    manifest = IMAGE.manifest.replace(
        b"application/vnd.oci.image.config.v1+json", b"application/vnd.some.thing.v1+json"
    )
    made = MadeImage(
        manifest, b"", IMAGE.blobs, {digest(manifest): ("application/vnd.oci.image.manifest.v1+json", manifest)}
    )
    with pytest.raises(DriftError, match="an artifact of type"):
        pull(fake(made).reference, PLATFORM, store=new_store("store"))


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="a, b=c"', Challenge("basic", "a, b=c")),
        ('Bearer realm="https://x/t",service=s,scope="a:b:c,d"', Challenge("bearer", "https://x/t", "s", "a:b:c,d")),
        ('Basic realm="x", Bearer realm="https://y/t"', Challenge("bearer", "https://y/t")),
        ('Negotiate, Basic realm="x"', Challenge("basic", "x")),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_challenges(header: str, challenge: Challenge | None) -> None:
    assert choose(header) == challenge


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("python", "docker.io", "library/python", ""),
        ("me/thing:1", "docker.io", "me/thing", "1"),
        ("docker.io/python", "docker.io", "library/python", ""),
        ("localhost/a/b:x", "localhost", "a/b", "x"),
        ("reg:5000/a", "reg:5000", "a", ""),
        ("[::1]:5000/a", "[::1]:5000", "a", ""),
        ("ghcr.io/some-one/a__b.c/d:V1", "ghcr.io", "some-one/a__b.c/d", "V1"),
    ],
)
def test_references_are_read_as_docker_does(text: str, host: str, path: str, tag: str) -> None:
    found = Reference.parse(f"{text}@{LAYER}")
    assert (found.host, found.path, found.tag, found.digest) == (host, path, tag, LAYER)


def test_credentials_do_not_show_themselves() -> None:
    shown = repr(Credentials("me", "s3cret", "t0ken"))
    assert "s3cret" not in shown
    assert "t0ken" not in shown


def test_a_registry_that_restarts_is_waited_for(fake: Fake, new_store: NewStore) -> None:
    """Nothing listens for a moment: an error at the start, a pause once it has answered."""
    server = fake(IMAGE)
    again: list[FakeServer] = []

    def restart(handler: Handler, asked: Asked) -> bool:
        if not is_layer(asked) or again:
            return False
        again.append(server)
        server.socket.close()
        handler.blob(asked, BIG, stop_at=100_000)
        return True

    def rebind(words: str) -> None:
        if "refuses" in words:
            server.socket = socket.create_server(server.server_address)
            notices.append(words)

    server.fault = restart
    notices: list[str] = []
    image = pull(server.reference, PLATFORM, store=new_store("store"), notify=rebind)
    assert image.diff_ids == (LAYER,)
    assert notices


def test_a_repository_that_must_be_made_first_is_told_as_that(fake: Fake, new_store: NewStore) -> None:
    server = fake(IMAGE)
    image = pull(server.reference, PLATFORM, store=new_store("store"))
    server.fault = lambda handler, _: handler.answer(404)
    with pytest.raises(RegistryError, match="knows no repository other/name to push to"):
        push(image, f"{server.host}/other/name")


def test_a_layer_that_no_registry_may_hold_is_told_as_one(fake: Fake, new_store: NewStore) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    manifest = IMAGE.manifest.replace(b"application/vnd.oci.image.layer.v1.tar", foreign.encode())
    blobs = {name: data for name, data in IMAGE.blobs.items() if name != LAYER}
    made = MadeImage(manifest, IMAGE.config, blobs, {digest(manifest): (layout.MEDIA_MANIFEST, manifest)})
    with pytest.raises(NotServedError, match=f"lets no registry hold this layer .{foreign}") as caught:
        pull(fake(made).reference, PLATFORM, store=new_store("store"))
    assert "--mirror" in caught.value.hint


def test_a_folder_that_cannot_be_looked_into_holds_no_credentials(tmp_path: Path) -> None:
    """A runtime folder of another user, as `su` leaves it; here one whose name no file system takes."""
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/" + "n" * 300}
    assert find_credentials(Reference.parse("example.org/image"), environment) is None
