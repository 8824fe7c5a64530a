"""What an image is called in a registry: `[HOST[:PORT]/]PATH[:TAG][@sha256:HEX]`, as Docker reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from repro_tui.errors import UsageError
from repro_tui.manifest.fields import IMAGE_HOST, IMAGE_PATH, IMAGE_TAG

DOCKER_HUB = "docker.io"
_DOCKER_HUB_ENDPOINT = "registry-1.docker.io"

_REFERENCE = re.compile(
    rf"(?:(?P<host>{IMAGE_HOST})/)?(?P<path>{IMAGE_PATH})(?::(?P<tag>{IMAGE_TAG}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_GRAMMAR = "write [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], the name in lower case"


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference that was read: `host` as credentials know it, `path` as the registry does."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; raises UsageError."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no image reference", where=text, hint=_GRAMMAR)
        host, path = found["host"] or "", found["path"]
        if host and not _is_host(host):  # "library/python": the first part is of the path
            host, path = "", f"{host}/{path}"
            if _REFERENCE.fullmatch(path) is None:
                raise UsageError(f"{text!r} is no image reference", where=text, hint=_GRAMMAR)
        if host in {"", "index.docker.io", _DOCKER_HUB_ENDPOINT}:
            host = DOCKER_HUB
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(host, path, found["tag"] or "", found["digest"] or "")

    @classmethod
    def to_pull(cls, text: str) -> Self:
        """Read a reference that names an image by digest; raises UsageError for a tag alone."""
        reference = cls.parse(text)
        if not reference.digest:
            raise UsageError(
                f"{text} does not say which image: a tag can move",
                where=text,
                hint="name it by digest, NAME@sha256:…, as `repro-tui image push` prints it",
            )
        return reference

    @classmethod
    def to_push(cls, text: str) -> Self:
        """Read where an image is pushed to, NAME or NAME:TAG; raises UsageError for one with a digest."""
        reference = cls.parse(text)
        if reference.digest:
            raise UsageError(
                f"{text} cannot be pushed to: the image's own digest is what it gets", where=text, hint="write NAME:TAG"
            )
        return reference

    @property
    def endpoint(self) -> str:
        """Host and port that answer."""
        return _DOCKER_HUB_ENDPOINT if self.host == DOCKER_HUB else self.host

    @property
    def hostname(self) -> str:
        """The host without its port."""
        return self.host.rpartition("]")[0][1:] if self.host.startswith("[") else self.host.partition(":")[0]

    @property
    def name(self) -> str:
        """The last part of the path: what people call the image."""
        return self.path.rpartition("/")[2]

    @property
    def repository(self) -> str:
        """Host and path."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{'@' + self.digest if self.digest else ''}"


def _is_host(part: str) -> bool:
    """Tell a host from the first part of a path, by Docker's rule."""
    return "." in part or ":" in part or part == "localhost" or part != part.lower()
