"""Images that Docker and Podman really build from Dockerfiles, and what is said where they cannot."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.engines import builders
from repro_tui.engines.base import ContainerSpec, EndReason, Engine, Mount
from repro_tui.engines.builders import BuildError
from repro_tui.engines.builds import build
from repro_tui.engines.choose import ENGINES
from repro_tui.engines.dockerfiles import bases, context_digest
from repro_tui.engines.embedded import EmbeddedEngine
from repro_tui.errors import EngineError
from repro_tui.images import inventory, layout
from repro_tui.images.model import Image
from tests.engines.engine_bench import PYTHON
from tests.images.registry_lab import RealRegistry, image_of, layer_of, start_registry

PLATFORM = "linux/amd64"
# The SDK leaves sockets to the garbage collector, which warns, when a connection is refused or an answer is an error.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=["docker", "podman"])
def maker(request: pytest.FixtureRequest) -> Engine:
    made = ENGINES[request.param]()
    answer = made.availability()
    if not answer.ok:
        pytest.skip(f"{made.name}: {answer.reason} ({answer.remedy})")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def built(maker: Engine, store: Store, tmp_path: Path) -> Callable[..., tuple[Image, bool]]:
    """Builds the Dockerfile of the folder `context` with that engine."""
    (tmp_path / "context").mkdir()

    def run(**given: Any) -> tuple[Image, bool]:
        options = {"engine": maker.name, "store": store, "log": tmp_path / "log", **given}
        return build(tmp_path / "context/Dockerfile", PLATFORM, **options)

    return run


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealRegistry]:
    made, process = start_registry(tmp_path / "registry")
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{made.host}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    yield made
    process.kill()
    process.wait()


def rootfs(image: Image, context: Path) -> str:
    """Put the tiny image of the engines' tests into a context; return the instructions that make it the root."""
    shutil.copy(layout.blob(image.layout, image.layers[0].digest), context / "rootfs.tar")
    return f'FROM scratch\nADD rootfs.tar /\nSHELL ["{shutil.which("sh")}", "-c"]\n'


@pytest.mark.engine
def test_it_is_built_once_and_runs_in_every_engine(
    built: Callable[..., tuple[Image, bool]], maker: Engine, image: Image, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    root = rootfs(image, context)
    (context / "told").write_text("by the context")
    (context / "Dockerfile").write_text(
        f"{root}COPY told /told\nRUN read line < /told; echo $line and by RUN > /made\n"
    )
    made, cached = built()
    assert (made.origin, cached, made.reference) == ("built", False, "")
    assert "by RUN" not in made.name
    assert "RUN" in (tmp_path / "log").read_text()
    listed = {item.path: item for item in inventory.read(made.inventory)}
    assert listed["made"].sha256 == hashlib.sha256(b"by the context and by RUN\n").hexdigest()
    assert (made.root / "told").read_text() == "by the context"
    found, _ = layout.read(made.layout)
    assert (found.manifest_digest, found.config_digest) == (made.manifest_digest, made.config_digest)

    assert built() == (made, True)
    (context / "told").write_text("otherwise")
    changed, cached = built()
    assert not cached
    assert changed.manifest_digest != made.manifest_digest

    engines: list[Engine] = [maker]
    if EmbeddedEngine().availability().ok:
        engines.append(EmbeddedEngine())
    for engine in engines:
        out, log = tmp_path / f"out-{engine.name}", tmp_path / f"log-{engine.name}"
        out.mkdir()
        engine.prepare(made, lambda done, total, text: None)
        outcome = engine.start(
            made,
            ContainerSpec(
                name=f"repro-tui-test-built-{engine.name}", run_id="built", log=log,
                argv=[PYTHON, "-I", "-S", "-B", "-c", "print(open('/made').read(), end='')"],
                environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp"}, mounts=[Mount(out, "/out", read_only=False)],
            ),
        ).wait(60)  # fmt: skip
        assert outcome is not None
        assert outcome.reason is EndReason.EXITED
        assert log.read_text() == "by the context and by RUN\n"


@pytest.mark.engine
def test_a_base_of_a_registry_is_pulled_and_its_id_is_part_of_the_key(
    built: Callable[..., tuple[Image, bool]], registry: RealRegistry, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    first = registry.put(image_of(layer_of(("base", b"one"))), "base")
    (context / "Dockerfile").write_text(f"ARG BASE={first}\nFROM ${{BASE}} AS start\nFROM start\nCOPY Dockerfile /d\n")
    made, cached = built()
    assert not cached
    assert (made.root / "base").read_text() == "one"
    assert built(offline=True) == (made, True), "the base is here: nobody is asked"
    second = registry.put(image_of(layer_of(("base", b"two"))), "base")
    (context / "Dockerfile").write_text(f"FROM {second}\nCOPY Dockerfile /d\n")
    other, cached = built()
    assert not cached
    assert (other.root / "base").read_text() == "two"


@pytest.mark.engine
def test_a_base_that_is_not_served_any_more_says_the_ways_out(
    built: Callable[..., tuple[Image, bool]], registry: RealRegistry, tmp_path: Path
) -> None:
    (tmp_path / "context/Dockerfile").write_text(f"FROM {registry.host}/gone:1\n")
    for given in ({}, {"offline": True}):
        with pytest.raises(EngineError, match=r"the base image .*/gone:1 cannot be had") as raised:
            built(**given)
        assert raised.value.exit_code == 3
        for way in ("mirror", "bundle", "rebuild from a dependency lock"):
            assert way in raised.value.hint


@pytest.mark.engine
def test_a_failing_instruction_is_shown_in_its_own_words(
    built: Callable[..., tuple[Image, bool]], image: Image, tmp_path: Path
) -> None:
    root = rootfs(image, tmp_path / "context")
    (tmp_path / "context/Dockerfile").write_text(f"{root}RUN echo no such package: torch==0.0; exit 7\n")
    with pytest.raises(BuildError, match=r"no such package: torch==0\.0") as raised:
        built()
    assert "7" in raised.value.message
    assert raised.value.exit_code == 3
    assert "no such package: torch==0.0" in (tmp_path / "log").read_text()


@pytest.mark.engine
def test_an_unreadable_dockerfile_is_no_traceback(built: Callable[..., tuple[Image, bool]], tmp_path: Path) -> None:
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nNONSENSE /\n")
    with pytest.raises(EngineError, match=r"NONSENSE|nonsense|unknown instruction"):
        built()


def test_without_a_builder_both_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"docker: .*podman: ") as raised:
        builders.builder("embedded")
    assert "image.reference" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM scratch", []),
        ("# FROM x\nFROM a:1\nFROM --platform=linux/amd64 b@sha256:00 AS two\nFROM two", ["a:1", "b@sha256:00"]),
        ("ARG V=3.11\nARG N\nFROM python:${V}-slim\nFROM $N\nFROM ${X:-y}", ["python:3.11-slim", "y"]),
        ("from \\\n  a as One\nFROM one\nCOPY --from=0 / /\nCOPY --from=c:2 --chown=1 / /", ["a", "c:2"]),
        ("FROM a\nARG B=c\nRUN echo FROM x", ["a"]),
    ],
)
def test_bases_are_read_from_a_dockerfile(text: str, found: list[str]) -> None:
    assert bases(text) == found


def test_the_context_counts_as_far_as_it_is_sent(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("# not sent\n*.log\nbig/\n")
    (tmp_path / "a").write_text("x")
    seen = [context_digest(tmp_path, dockerfile)]
    (tmp_path / "run.log").write_text("anything")
    (tmp_path / "big").mkdir()
    assert context_digest(tmp_path, dockerfile) == seen[0]
    for change in (
        lambda: (tmp_path / "a").chmod(0o755),
        lambda: (tmp_path / "a").write_text("y"),
        lambda: (tmp_path / "link").symlink_to("a"),
        lambda: dockerfile.write_text("FROM scratch\n\n"),
    ):
        change()
        seen.append(context_digest(tmp_path, dockerfile))
    assert len(set(seen)) == 5
