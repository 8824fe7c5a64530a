"""Which file names a project's dependencies, and what is in it that decides about the image."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from repro_tui.authoring.inspection.folder import Folder

FILES = (
    "pylock.toml", "uv.lock", "requirements.lock", "requirements.txt", "requirements.in", "requirements/base.txt",
    "requirements/requirements.txt", "pyproject.toml", "environment.yml", "environment.yaml", "conda.yml", "conda.yaml",
)  # fmt: skip
"""Where dependencies may be named; what is pinned most comes first."""

DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "yaml": "PyYAML", "PIL": "Pillow", "cv2": "opencv-python-headless",
    "skimage": "scikit-image", "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "attr": "attrs",
    "Crypto": "pycryptodome",
    "umap": "umap-learn",
}  # fmt: skip
"""Distributions whose module has another name."""

_BYTES = 8 << 20
_TORCH = re.compile(
    r"(?im)^[\s\-\"'\[,]*(?:name\s*=\s*[\"'])?(torch|pytorch|torchvision|torchaudio|transformers|accelerate)\b"
)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """A project's dependencies."""

    files: tuple[str, ...]
    """Files that name them, the best first."""
    torch: bool
    """Whether PyTorch is among them."""
    python: str
    """Which versions of Python the project asks for, "" for any."""

    @property
    def file(self) -> str:
        """The file they are taken from, "" where there is none."""
        return self.files[0] if self.files else ""

    def allows(self, python: str) -> bool:
        """Say whether the project runs on this version of Python, as far as it says."""
        try:
            return not self.python or any(f"{python}.{patch}" in SpecifierSet(self.python) for patch in (0, 2, 99))
        except InvalidSpecifier:
            return True


def find_dependencies(folder: Folder, imported: list[str]) -> Dependencies:
    """Return the dependencies of a project whose code imports these modules."""
    files = tuple(name for name in FILES if name in folder.files and _names_some(folder, name))
    text = _text(folder, files[0]) if files else ""
    torch = bool(_TORCH.search(text)) or any(name in {"torch", "torchvision", "transformers"} for name in imported)
    return Dependencies(files, torch, _python(folder))


def requirements_of(imported: list[str]) -> list[str]:
    """Return the distributions of the modules that are imported, as far as they are known by other names."""
    return sorted({DISTRIBUTIONS.get(name, name) for name in imported}, key=str.lower)


def of_conda(folder: Folder, name: str) -> list[str]:
    """Return a conda environment's packages as pip would be asked for them, as far as their names are the same."""
    found = re.findall(r"(?m)^\s*-\s+([A-Za-z0-9_.-]+)\s*(?:(==?|>=|<=)\s*([0-9][\w.*]*))?", _text(folder, name))
    channels = {"defaults", "conda-forge", "pytorch", "nvidia", "python", "pip"}
    renamed = {"pytorch": "torch"}
    return [
        f"{renamed.get(package, package)}{'==' if sign == '=' else sign}{version}"
        for package, sign, version in found
        if package not in channels or (package == "pytorch" and sign)
    ]


def project_table(folder: Folder) -> dict[str, Any]:
    """Return pyproject.toml's `project` table, empty where it has none that can be read."""
    data = _toml(folder, "pyproject.toml")
    table = data.get("project")
    return table if isinstance(table, dict) else {}


def _names_some(folder: Folder, name: str) -> bool:
    if name != "pyproject.toml":
        return bool(_text(folder, name).strip())
    found = project_table(folder).get("dependencies")
    return isinstance(found, list) and bool(found)


def _python(folder: Folder) -> str:
    wanted = project_table(folder).get("requires-python") or _toml(folder, "uv.lock").get("requires-python")
    return wanted if isinstance(wanted, str) else ""


def _toml(folder: Folder, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(folder, name))
    except (ValueError, RecursionError):
        return {}


def _text(folder: Folder, name: str) -> str:
    if folder.files.get(name, _BYTES + 1) > _BYTES:
        return ""
    try:
        return (folder.root / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
