"""What a tag names now."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repro_tui.errors import DriftError, UsageError
from repro_tui.images.registry.errors import NotServedError
from repro_tui.images.registry.tags import digest_of_tag
from tests.images.registry_lab import FakeServer, MadeImage, image_of, layer_of

Fake = Callable[[MadeImage], FakeServer]


def test_the_digest_is_that_of_the_bytes_whatever_the_header_says(fake: Fake) -> None:
    image = image_of(layer_of(("usr/a", b"a")))
    server = fake(image)
    kind, data = image.manifests[image.digest]
    server.fault = lambda handler, asked: (
        asked.path.endswith("/manifests/1.0")
        and handler.answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": "sha256:" + "0" * 64})
    )
    assert digest_of_tag(f"{server.host}/some/image:1.0") == image.digest
    with pytest.raises(NotServedError):
        digest_of_tag(f"{server.host}/some/image")
    assert server.asked[-1].path.endswith("/manifests/latest")


def test_what_is_no_image_is_refused(fake: Fake) -> None:
    server = fake(image_of(layer_of(("usr/a", b"a"))))
    server.fault = lambda handler, _: handler.answer(200, b"<html>")
    with pytest.raises(DriftError):
        digest_of_tag(f"{server.host}/some/image:1.0")
    with pytest.raises(UsageError):
        digest_of_tag("No Image")
