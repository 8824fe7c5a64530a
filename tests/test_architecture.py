"""Holds the layers, the places and the promises that a reader relies on to find things."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "repro_tui"

# Highest first: a layer imports only from layers below it (and from itself).
LAYERS = (
    {"cli"},
    {"tui"},
    {"authoring"},
    {"attest", "bundles"},
    {"pipeline", "doctor"},
    {"report"},
    {"engines"},
    {"images"},
    {"artifacts"},
    {"verify"},
    {"runs"},
    {"manifest"},
    {"events", "wire", "errors", "files"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
IN_THE_IMAGE_ONLY = {"torch", "transformers", "datasets", "numpy", "sklearn", "scipy", "pandas", "safetensors"}
STATISTICS = PACKAGE / "verify" / "statistics.py"  # asks SciPy, and only when somebody verifies over seeds
PROBE = (
    PACKAGE / "verify" / "probe.py"
)  # one file, however long: it is mounted alone into images that hold nothing of ours
GPU_PROBE = PACKAGE / "verify" / "gpu_probe.py"  # the same, for images with PyTorch; nothing here imports it
STANDARD_LIBRARY_ONLY = (PACKAGE / "wire.py", PROBE, GPU_PROBE)


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: imports are absolute"
            assert node.module is not None
            if node.module == "repro_tui":
                yield from (f"repro_tui.{alias.name}" for alias in node.names)
            else:
                yield node.module


def layer_of(path: Path) -> str:
    """`python -m repro_tui` is the command line under another name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__main__", "cli")


def test_no_two_files_of_tests_have_one_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == [], "test folders are no packages"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    layer = layer_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if layer == "tasks":
            assert top != "repro_tui" or target in {"tasks", "wire"}, f"tasks imports {name}: it has only wire"
            continue
        assert rest != "verify.gpu_probe", f"{name}: it runs in the image only"
        if (path, top) == (STATISTICS, "scipy"):
            continue
        assert top not in IN_THE_IMAGE_ONLY or path == GPU_PROBE, f"{name} lives in the image, the host has it not"
        assert top != "textual" or layer == "tui", f"{name}: only the terminal UI knows Textual"
        if top != "repro_tui" or target in {"__version__", ""} or layer == "__init__":
            continue
        assert target != "tasks", f"{name}: the host does not import what runs in the container"
        allowed = target == layer or RANK[target] > RANK[layer]
        assert allowed, f"{path.relative_to(ROOT)} ({layer}) imports {name}: against the order of the layers"


@pytest.mark.parametrize("path", STANDARD_LIBRARY_ONLY, ids=lambda path: path.name)
def test_what_runs_anywhere_needs_the_standard_library_only(path: Path) -> None:
    for name in imports(path):
        allowed = sys.stdlib_module_names | ({"torch"} if path == GPU_PROBE else set())
        assert name.partition(".")[0] in allowed, f"{path.name} imports {name}"


LONGER = {"repro_tui/verify/probe.py": 520}
"""Files that may be longer than others: the probe runs alone in any image, so it is one file."""


def test_files_stay_readable() -> None:
    long = {
        name: count
        for name, path in ((str(path.relative_to(ROOT)), path) for path in modules())
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGER.get(name, 420)
    }
    assert not long, f"what do these do too much of? {long}"


def test_commands_are_where_a_reader_looks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repro_tui.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\{([a-z,-]+)\}", done.stdout)
    assert found is not None, "the help lists the commands"
    for command in found[1].split(","):
        assert (PACKAGE / "cli" / f"{command.replace('-', '_')}.py").is_file(), f"cli/{command}.py"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from repro_tui.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'rich', 'docker', 'pydantic', 'requests', 'textual', 'installer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_stages_are_files() -> None:
    from repro_tui.pipeline.plan import STAGES

    for stage in STAGES:
        assert (PACKAGE / "pipeline" / "stages" / f"{stage}.py").is_file()


def tracked_text_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_registry_address_is_written_down() -> None:
    # Put together here so that this file does not hold them itself.
    hosts = re.compile(
        "|".join(("py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)", r"deb\." + "debian"))
    )
    for path in tracked_text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = hosts.search(text)
        assert found is None, f"{path.relative_to(ROOT)} names {found[0]}"


def test_nothing_is_left_to_do_later() -> None:
    marker = re.compile("|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b")))
    for path in modules():
        assert marker.search(path.read_text(encoding="utf-8")) is None, f"{path.relative_to(ROOT)}"
