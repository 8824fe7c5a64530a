"""From a manifest to one file, and from that file to a verdict: nothing else, no network, another store, another user."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from tests.system.lab import Lab, Result


def pack(lab: Lab, target: Path, *options: str) -> Result:
    lab.write()
    mirrors = [word for mirror in lab.mirrors for word in ("--mirror", str(mirror))]
    places = ["--store", str(lab.store), "--runs", str(lab.runs)]
    return lab.command("pack", str(lab.manifest_path), "-o", str(target), "--offline", *mirrors, *places, *options)


def alone(lab: Lab, folder: Path) -> Lab:
    """Return a place that holds nothing, and reaches nothing."""
    folder.mkdir()
    inside = shutil.which("unshare")
    netless = subprocess.run(["unshare", "-rn", "true"], check=False).returncode == 0 if inside else False
    prefix = ["unshare", "-n" if os.geteuid() == 0 else "-rn"] if netless else []
    home = folder / "home"
    home.mkdir()
    return Lab(
        folder, folder / "store", folder / "runs", prefix=prefix,
        environment={"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "REPRO_TUI_MIRROR": ""},
    )  # fmt: skip


@pytest.mark.parametrize("image", ["parts", "oci"])
def test_a_bundle_is_reproduced_from_nothing(lab: Lab, tmp_path: Path, image: str) -> None:
    lab.expect_reproduced()
    bundle = tmp_path / "small.repro.tar"
    pack(lab, bundle, "--image", image).expect(0)
    shutil.rmtree(lab.folder)
    there = alone(lab, tmp_path / "reviewer")
    there.folder.chmod(0o755)
    try:
        done = there.command(
            "--run",
            str(bundle),
            "--json",
            "--engine",
            "embedded",
            "--store",
            str(there.store),
            "--runs",
            str(there.runs),
        )
        done.expect(0, "REPRODUCED")
        assert done.report["image"]["origin"] == ("assembled" if image == "parts" else "pulled")
        assert done.report["image"]["manifest_digest"] == lab.manifest["image"]["manifest_digest"]
    finally:
        remove_tree(there.store)
