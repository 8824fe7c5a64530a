"""Who can build a Dockerfile: Docker through its interface (the classic builder), Podman through its program."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from repro_tui.engines.docker_errors import engine_error
from repro_tui.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

    from repro_tui.engines.podman_command import Podman

GONE_HINT = (
    "the registry does not serve it to you (any more): name a mirror of it in FROM, load it from a bundle that was "
    "kept (docker load, podman load), log in where it is private, or rebuild from a dependency lock with image.recipe"
)
_LAST_LINES = 6


class BuildError(EngineError):
    """An instruction of the Dockerfile failed; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be built."""

    dockerfile: Path
    context: Path
    platform: str
    tag: str
    network: bool
    """Whether instructions may use the network."""
    log: IO[bytes]


class Builder(Protocol):
    """An engine that builds."""

    name: str

    def base(self, reference: str, platform: str, *, pull: bool) -> str:
        """Return the ID of a base image, pulled where it is not there; raises EngineError with the way out."""

    def build(self, job: Job) -> None:
        """Build; raises BuildError, EngineError."""

    def save(self, tag: str, file: IO[bytes], tell: Callable[[int], None]) -> None:
        """Write the image as an archive with a manifest.json; `tell` gets the bytes so far. Raises EngineError."""


def builder(engine: str) -> Builder:
    """Return the builder of a run with that engine: its own, or the first that works where that engine builds none.

    Raises EngineError where there is none.
    """
    from repro_tui.engines.docker import DockerEngine
    from repro_tui.engines.podman import PodmanEngine

    refused = []
    for name in dict.fromkeys([engine, "docker", "podman"]):
        if name not in {"docker", "podman"}:
            continue
        answer = (DockerEngine() if name == "docker" else PodmanEngine()).availability()
        if answer.ok:
            return _Docker() if name == "docker" else _Podman()
        refused.append(f"{name}: {answer.reason}")
    raise EngineError(
        f"a Dockerfile is built by Docker or Podman, and neither works here: {'; '.join(refused)}",
        where="image.dockerfile",
        hint="install one of them, or name an image by digest in image.reference, or an image.recipe",
    )


def _last_words(said: list[str]) -> str:
    return " | ".join([line.strip() for line in said if line.strip()][-_LAST_LINES:])


def _vanished(reference: str, error: object) -> EngineError:
    return EngineError(f"the base image {reference} cannot be had: {error}", where="image.dockerfile", hint=GONE_HINT)


class _Docker:
    name = "docker"

    def __init__(self) -> None:
        from repro_tui.engines.docker_endpoint import Endpoint

        self._client: DockerClient = Endpoint.find().connect(None)

    def base(self, reference: str, platform: str, *, pull: bool) -> str:
        from docker.errors import DockerException, ImageNotFound
        from docker.utils import parse_repository_tag
        from requests.exceptions import RequestException

        try:
            with contextlib.suppress(ImageNotFound):
                held = self._client.images.get(reference)
                if platform in {f"{held.attrs.get('Os')}/{held.attrs.get('Architecture')}", ""}:
                    return str(held.id)
            if not pull:
                raise _vanished(reference, "it is not here, and this run is offline")
            repository, tag = parse_repository_tag(reference)
            return str(self._client.images.pull(repository, tag=tag or "latest", platform=platform).id)
        except (DockerException, RequestException) as error:
            raise _vanished(reference, getattr(error, "explanation", None) or error) from error

    def build(self, job: Job) -> None:
        said: list[str] = []
        try:
            answers = self._client.api.build(
                path=str(job.context), dockerfile=job.dockerfile.relative_to(job.context).as_posix(), tag=job.tag,
                platform=job.platform, rm=True, forcerm=True, decode=True, network_mode=None if job.network else "none",
            )  # fmt: skip
            for answer in answers:
                self._take(answer, said, job.log)
        except Exception as error:
            raise engine_error(error, "Docker did not build the Dockerfile") from error

    @staticmethod
    def _take(answer: Mapping[str, Any], said: list[str], log: IO[bytes]) -> None:
        words = str(answer.get("stream") or answer.get("error") or "")
        log.write(words.encode(errors="replace"))
        if "error" in answer:
            log.write(b"\n")
            raise BuildError(
                f"the Dockerfile does not build: {words.strip()}: {_last_words(said)}",
                where="image.dockerfile",
                hint="the stage's log has the whole story; what it downloads without pins may have changed or gone",
            )
        said += words.splitlines()

    def save(self, tag: str, file: IO[bytes], tell: Callable[[int], None]) -> None:
        try:
            for chunk in self._client.api.get_image(tag):
                file.write(chunk)
                tell(file.tell())
        except OSError:
            raise
        except Exception as error:
            raise engine_error(error, "Docker did not give the built image out") from error


class _Podman:
    name = "podman"

    def __init__(self) -> None:
        from repro_tui.engines import podman_host

        found = podman_host.examine()
        if found.podman is None:
            raise EngineError(found.availability.reason, hint=found.availability.remedy)
        self._podman: Podman = found.podman

    def base(self, reference: str, platform: str, *, pull: bool) -> str:
        from repro_tui.engines.podman_command import Refusal

        asked = ("image", "inspect", "--format", "{{.Os}}/{{.Architecture}} {{.Id}}", reference)
        with contextlib.suppress(Refusal):
            found, identity = self._podman.call(*asked).split()
            if found == platform:
                return identity
        if not pull:
            raise _vanished(reference, "it is not here, and this run is offline")
        try:
            self._podman.call("pull", "--quiet", "--platform", platform, reference, timeout_s=None)
            return self._podman.call(*asked).split()[1]
        except Refusal as error:
            raise _vanished(reference, error) from error

    def build(self, job: Job) -> None:
        from repro_tui.engines.podman_command import environment

        command = self._podman.command(
            "build", "--format", "docker", "--pull=never", "--platform", job.platform, "--tag", job.tag,
            *(() if job.network else ("--network", "none")), "--file", str(job.dockerfile), str(job.context),
        )  # fmt: skip
        said: list[str] = []
        with subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None  # noqa: S101 - asked for
            for line in process.stdout:
                job.log.write(line)
                said.append(line.decode(errors="replace"))
        if process.returncode:
            raise BuildError(
                f"the Dockerfile does not build: {_last_words(said)}",
                where="image.dockerfile",
                hint="the stage's log has the whole story; what it downloads without pins may have changed or gone",
            )

    def save(self, tag: str, file: IO[bytes], tell: Callable[[int], None]) -> None:
        from repro_tui.engines.podman_command import Refusal

        path = Path(file.name)
        path.unlink()  # Podman refuses to write to an archive that is there
        try:
            self._podman.call(
                "save", "--quiet", "--format", "docker-archive", "--output", str(path), tag, timeout_s=None
            )
        except Refusal as error:
            raise error.error("Podman did not give the built image out") from error
        tell(path.stat().st_size)
