"""Downloads from a server that is slow to agree: ranges, cuts, errors that pass and errors that stay."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.sources import hub
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.download import download, shown
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, DriftError
from tests.artifacts.artifact_lab import (
    Server,
    cut_off,
    fail_with,
    file_artifact,
    redirect_to,
    serve_without_ranges,
    serving,
    sha256,
)

DATA = bytes(range(256)) * 4000
LIMIT_BYTES = 10 * len(DATA)


@pytest.fixture
def context(store: Store, tmp_path: Path) -> Context:
    return Context(store=store, base=tmp_path, environ={}, retry_delays_s=(0.01, 0.01))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_a_cut_off_download_goes_on_where_it_stopped(server: Server, context: Context, target: Path) -> None:
    url = server.add("/file", DATA, cut_off(300_000))
    download(url, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert target.read_bytes() == DATA
    first, second = server.asked("/file")
    assert "Range" not in first
    start = int(second["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 300_000


def test_a_server_without_ranges_starts_over(server: Server, context: Context, target: Path) -> None:
    url = server.add("/file", DATA, cut_off(300_000), serve_without_ranges)
    download(url, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert target.read_bytes() == DATA


def test_what_is_there_already_and_does_not_fit_is_fetched_anew(server: Server, context: Context, target: Path) -> None:
    url = server.add("/file", DATA)
    target.write_bytes(DATA + b"too much")
    download(url, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert target.read_bytes() == DATA


def test_progress_resets_the_patience(server: Server, context: Context, target: Path) -> None:
    url = server.add("/file", DATA, fail_with(503), cut_off(300_000), *[fail_with(503)] * 2)
    with pytest.raises(SourceUnavailableError, match=r"503 .*after 3 tries"):
        download(url, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert len(server.asked("/file")) == 4
    assert target.stat().st_size > 0, "what came is kept for the next run"


def test_errors_that_pass_are_tried_again_and_told(server: Server, context: Context, target: Path) -> None:
    told: list[str] = []
    url = server.add("/file", DATA, fail_with(503), fail_with(429))
    download(url, target, replace(context, notify=told.append), text="file", limit_bytes=LIMIT_BYTES)
    assert target.read_bytes() == DATA
    assert ["503" in told[0], "429" in told[1]] == [True, True]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_errors_that_stay_are_not_tried_again(server: Server, context: Context, target: Path, status: int) -> None:
    url = server.add("/file", DATA, fail_with(status))
    with pytest.raises(SourceUnavailableError, match=f"HTTP {status}"):
        download(url, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert len(server.asked("/file")) == 1


def test_redirects_are_followed_but_never_into_the_file_system(server: Server, context: Context, target: Path) -> None:
    real = server.add("/real", DATA)
    download(server.add("/file", b"", redirect_to(real)), target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert target.read_bytes() == DATA
    trap = server.add("/trap", b"", redirect_to("file:///etc/passwd"))
    target.unlink()
    with pytest.raises(SourceUnavailableError, match="file:"):
        download(trap, target, context, text="file", limit_bytes=LIMIT_BYTES)
    assert not target.exists()


def test_a_token_goes_to_the_hub_and_to_nobody_it_redirects_to(server: Server, store: Store, tmp_path: Path) -> None:
    with serving() as elsewhere:
        real = elsewhere.add("/cdn", DATA)
        revision = "a" * 40
        server.add(f"/owner/model/resolve/{revision}/w.bin", b"", redirect_to(real))
        environ = {"HF_ENDPOINT": server.address, "HF_TOKEN": "secret-token"}
        fetcher = Fetcher(store, [], base=tmp_path, environ=environ)
        source = {"type": "hub", "repository": "owner/model", "revision": revision, "path": "w.bin"}
        assert fetcher.artifact(file_artifact(DATA, source)).read_bytes() == DATA
        assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer secret-token"]
        assert ["Authorization" in headers for _, headers in elsewhere.requests] == [False]


def test_addresses_of_the_hub() -> None:
    revision = "a" * 40
    place = hub.address("o/n", "dataset", revision, "a b/c.tsv", {"HF_ENDPOINT": "http://127.0.0.1:1/"})
    assert place == f"http://127.0.0.1:1/datasets/o/n/resolve/{revision}/a%20b/c.tsv"
    assert hub.address("o/n", "model", revision, "x", {}).endswith(f"/o/n/resolve/{revision}/x")
    assert hub.headers({}) == {}


def test_secrets_in_addresses_are_not_shown() -> None:
    assert shown("https://user:pw@host:8/path/x?token=1#frag") == "https://host:8/path/x"


def test_nothing_answers(store: Store, fetcher: Fetcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = {"type": "https", "url": f"http://127.0.0.1:{taken.getsockname()[1]}/x"}
        with pytest.raises(ArtifactUnavailableError) as caught:
            fetcher.artifact(file_artifact(DATA, source))
    assert "Connection refused" in caught.value.tried[-1]


def test_other_bytes_are_an_error_that_names_both_and_nothing_is_kept(
    server: Server, fetcher: Fetcher, store: Store
) -> None:
    url = server.add("/file", b"other bytes")
    with pytest.raises(DigestMismatchError) as caught:
        fetcher.artifact(file_artifact(DATA, {"type": "https", "url": url}, name="weights"))
    assert (caught.value.expected, caught.value.observed) == (sha256(DATA), sha256(b"other bytes"))
    assert caught.value.where == url
    assert not any((store.root / "partial").iterdir())


def test_a_stale_part_of_another_file_does_not_spoil_a_good_download(
    server: Server, fetcher: Fetcher, store: Store
) -> None:
    url = server.add("/file", DATA)
    store.partial(sha256(DATA)).write_bytes(b"x" * 1000)
    assert fetcher.artifact(file_artifact(DATA, {"type": "https", "url": url})).read_bytes() == DATA


def test_a_whole_part_needs_no_network(store: Store, fetcher: Fetcher) -> None:
    store.partial(sha256(DATA)).write_bytes(DATA)
    source = {"type": "https", "url": "http://127.0.0.1:1/none"}
    assert fetcher.artifact(file_artifact(DATA, source)).read_bytes() == DATA


def test_a_server_cannot_fill_the_disk(server: Server, fetcher: Fetcher, store: Store) -> None:
    url = server.add("/file", b"x" * (4 << 20))
    with pytest.raises(DriftError, match="not the pinned file"):
        fetcher.artifact(file_artifact(b"small", {"type": "https", "url": url}))
    assert not any((store.root / "partial").iterdir())


def test_a_member_of_an_archive_at_an_address(server: Server, fetcher: Fetcher) -> None:
    from tests.artifacts.test_archives import ARCHIVES, FILES

    archive = ARCHIVES["tar.gz"]
    url = server.add("/archive.tar.gz", archive)
    source = {"type": "https", "url": url, "sha256": sha256(archive), "path": "top/data/train.tab"}
    data = FILES["top/data/train.tab"]
    assert fetcher.artifact(file_artifact(data, source)).read_bytes() == data
    other = {**source, "path": "top/run.sh"}
    assert fetcher.artifact(file_artifact(FILES["top/run.sh"], other)).read_bytes() == FILES["top/run.sh"]
    assert len(server.requests) == 1, "the archive is kept"


def test_two_that_want_the_same_file_at_once_download_it_once(server: Server, store: Store, tmp_path: Path) -> None:
    url = server.add("/file", DATA)
    artifact = file_artifact(DATA, {"type": "https", "url": url})
    found: list[Path] = []
    fetchers = [Fetcher(Store(store.root), [], base=tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=lambda f=f: found.append(f.artifact(artifact))) for f in fetchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == DATA for path in found] == [True] * 4
    assert len(server.requests) == 1


def test_stopping_ends_a_download_that_hangs(store: Store, tmp_path: Path, server: Server) -> None:
    url = server.add("/file", DATA, *[fail_with(503)] * 9)
    fetcher = Fetcher(store, [], base=tmp_path)
    threading.Timer(0.2, fetcher.stop).start()
    began = time.monotonic()
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(file_artifact(DATA, {"type": "https", "url": url}))
    assert time.monotonic() - began < 5
    assert "stopped" in caught.value.tried[-1]
