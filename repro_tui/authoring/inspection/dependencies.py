"""Which file names a project's dependencies, and what is in it that decides about the image."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from repro_tui.authoring import conda
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

DRAFTED = "requirements.txt"
"""The file that is written where no file names the dependencies."""

_BYTES = 8 << 20
_TORCH = re.compile(
    r"(?im)^[\s\-\"'\[,]*(?:name\s*=\s*[\"'])?(torch|pytorch|torchvision|torchaudio|transformers|accelerate)\b"
)


_ENTRY = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*:\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


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
    text = folder.text(files[0], _BYTES) if files else ""
    torch = bool(_TORCH.search(text)) or any(name in {"torch", "torchvision", "transformers"} for name in imported)
    python = _python(folder)
    if not python and files and files[0] in conda.FILES:
        python = conda.read(text).python
    return Dependencies(files, torch, python)


def requirements_text(imported: list[str]) -> str:
    """Return a requirements file for the modules that are imported, by the names that their distributions have."""
    names = sorted({DISTRIBUTIONS.get(name, name) for name in imported}, key=str.lower)
    head = "# Drafted from what the code imports" + ("" if names else ": nothing but Python's own modules") + ".\n"
    return head + "".join(f"{name}\n" for name in names)


def project_table(folder: Folder) -> dict[str, Any]:
    """Return pyproject.toml's `project` table, empty where it has none that can be read."""
    data = _toml(folder, "pyproject.toml")
    table = data.get("project")
    return table if isinstance(table, dict) else {}


def entry_points(folder: Folder) -> dict[str, tuple[str, str]]:
    """Return the commands that the project installs, each as the module and the function that it stands for."""
    poetry = _toml(folder, "pyproject.toml").get("tool")
    poetry = poetry.get("poetry") if isinstance(poetry, dict) else None
    found = {}
    for table in (poetry, project_table(folder)):
        scripts = table.get("scripts") if isinstance(table, dict) else None
        for name, text in scripts.items() if isinstance(scripts, dict) else ():
            if isinstance(text, str) and (parts := _ENTRY.fullmatch(text.strip())):
                found[name] = parts[1], parts[2]
    return found


def _names_some(folder: Folder, name: str) -> bool:
    if name != "pyproject.toml":
        return True
    return isinstance(project_table(folder).get("dependencies"), list)


def _python(folder: Folder) -> str:
    wanted = project_table(folder).get("requires-python") or _toml(folder, "uv.lock").get("requires-python")
    return wanted if isinstance(wanted, str) else ""


def _toml(folder: Folder, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(folder.text(name, _BYTES))
    except (ValueError, RecursionError):
        return {}
