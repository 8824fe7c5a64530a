"""What was changed between two real runs is what `repro-tui diff` names first."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.conftest import World
from tests.system.lab import Lab, Manifest, sha256


def hyperparameter(lab: Lab, _: Path) -> tuple[str, str]:
    lab.manifest["hyperparameters"]["rate"] = 0.06
    return "hyperparameter", "hyperparameter rate: 0.05 → 0.06"


def threads(lab: Lab, _: Path) -> tuple[str, str]:
    lab.manifest["environment"]["threads"] = 2
    return "threads", "threads: 1 → 2"


def data_row(lab: Lab, _: Path) -> tuple[str, str]:
    file = lab.folder / "data/train.tsv"
    rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rows[2] = "2.5" + rows[2][rows[2].index("\t") :]
    file.write_text("".join(rows), encoding="utf-8")
    pins(lab.artifact("train"), file)
    return "data", "1 row changed; the first at row 3"


def pins(artifact: Manifest, file: Path) -> None:
    artifact.update(sha256=sha256(file), bytes=file.stat().st_size)


def package(lab: Lab, mirror: Path) -> tuple[str, str]:
    """Give the image another version of idna: the wheel that it has, with another number on it."""
    lock = lab.folder / "small.txt"
    lines = lock.read_text(encoding="utf-8").splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("idna=="))
    name, _, digest = lines[place].partition(" --hash=sha256:")
    version = name.partition("==")[2]
    newer = renumbered(lab.mirrors[0] / digest, version, f"{version}.1", mirror)
    lines[place] = f"idna=={version}.1 --hash=sha256:{newer}"
    lock.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lab.manifest["environment"]["lock_sha256"] = sha256(lock)
    return "package", f"package idna: {version} → {version}.1"


def renumbered(wheel: Path, version: str, other: str, folder: Path) -> str:
    """Write a wheel as one of another version, named by its digest, and return that."""
    old, new = f"-{version}.dist-info/", f"-{other}.dist-info/"
    made, rows, record = folder / "made.whl", [], ""
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in given.namelist():
            name, content = member.replace(old, new), given.read(member)
            if name.endswith("dist-info/RECORD"):
                record = name
                continue
            if name.endswith("dist-info/METADATA"):
                content = content.replace(f"\nVersion: {version}\n".encode(), f"\nVersion: {other}\n".encode())
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}\n")
            packed.writestr(name, content)
        packed.writestr(record, "".join([*rows, f"{record},,\n"]))
    digest = sha256(made)
    made.rename(folder / digest)
    return digest


@pytest.mark.parametrize("change", [hyperparameter, package, threads, data_row])
def test_what_was_changed_is_named_first(
    lab: Lab, world: World, tmp_path: Path, change: Callable[[Lab, Path], tuple[str, str]]
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    kind, said = change(lab, mirror)
    run = lab.run("--offline", "--allow-drift", "--mirror", str(mirror)).expect(1, "ENVIRONMENT DRIFT").run
    places = ["--store", str(lab.store), "--mirror", str(lab.folder)]
    beside_a_run = lab.command("diff", str(world.first.run), str(run), *places).expect(1)
    assert said in beside_a_run.out.partition("  2. ")[0], str(beside_a_run)
    beside_the_record = json.loads(lab.command("diff", str(run), *places, "--json").expect(1).out)
    causes = [each["kind"] for each in beside_the_record["causes"] if each["weight"]]
    assert causes == [kind], "nothing else was changed"
