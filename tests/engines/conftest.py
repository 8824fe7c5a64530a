"""Fixtures of the engines' tests: the tiny image, and every real engine that works here."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import warnings
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from repro_tui.engines.base import Engine
from repro_tui.engines.choose import ENGINES
from repro_tui.images.model import Image
from tests.engines.engine_bench import Bench, kill, make_layout, make_root


@pytest.fixture(scope="module", autouse=True)
def sockets_of_the_sdk() -> Iterator[None]:
    """Collect what the Docker SDK leaves open here, where it is known, not as an error of a later test elsewhere."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    root, layout = folder / "root", folder / "layout"
    root.mkdir()
    make_root(root)
    layer, config_digest, manifest_digest = make_layout(root, layout)
    (folder / "inventory.jsonl").touch()
    return Image(
        "tiny", "linux/amd64", manifest_digest, config_digest, (layer,), layout, root, folder / "inventory.jsonl"
    )


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, image: Image) -> Iterator[Engine]:
    """Every real engine, ready; skipped with its own words where it does not work here."""
    real = ENGINES[request.param]()
    answer = real.availability()
    if not answer.ok:
        pytest.skip(f"{real.name}: {answer.reason} ({answer.remedy})")
    real.prepare(image, lambda done, total, text: None)
    yield real
    if real.name == "docker":
        from repro_tui.engines.docker import Endpoint, tag

        client = Endpoint.find().connect()
        client.images.remove(tag(image), force=True)
        client.close()
    if real.name == "podman":
        subprocess.run(["podman", "image", "rm", "--force", image.config_digest[7:]], check=False, capture_output=True)


@pytest.fixture
def bench(engine: Engine, image: Image, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "out").mkdir()
    made = Bench(engine, image, tmp_path, hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    yield made
    for worker in made.workers:
        kill(worker)
    for running in made.running:
        running.stop(0)
        running.wait(30)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write into the report of a contract test which engine it was for."""
    report = yield
    if item.path.name.startswith("test_contract") and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        name = item.callspec.params.get("engine")
        if name is not None:
            report.user_properties.append(("engine", name))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say per engine how many contract tests passed, and how many attempts to leave the sandbox were refused."""
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    attempts: dict[str, Counter[bool]] = defaultdict(Counter)
    again: dict[str, str] = {}
    milliseconds: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            properties = dict(getattr(report, "user_properties", ()))  # a file that did not load has none
            engine = properties.get("engine")
            if engine is None:
                continue
            ends[engine][outcome] += 1
            milliseconds[engine] += round(1000 * report.duration)
            if "refused" in properties:
                attempts[engine][properties["refused"]] += 1
            if "as nobody" in properties:
                again[engine] = properties["as nobody"]
    if ends:
        terminalreporter.section("contract")
    for engine, counted in ends.items():
        line = f"{engine}: {counted['passed']} passed, {counted['failed'] + counted['error']} failed, {counted['skipped']} skipped in {milliseconds[engine] / 1000:.0f} s"
        if attempts[engine]:
            line += f"; sandbox: {attempts[engine][True]} of {attempts[engine].total()} attempts refused"
        terminalreporter.write_line(line)
        if engine in again:
            terminalreporter.write_line(f"{engine}, as nobody: {again[engine]}")
