"""Are the clients there that artifacts come through: pip, apt, npm, git."""

from __future__ import annotations

import importlib.util
import shutil

from repro_tui.doctor.finding import Finding

_PROGRAMS = {
    "apt-get": "Debian packages of the image",
    "git": "files in git repositories",
    "npm": "files in npm packages",
}


def check() -> Finding:
    """Look for each; what is missing matters only where nothing cached and no mirror folder has the artifact."""
    missing = {name: use for name, use in _PROGRAMS.items() if shutil.which(name) is None}
    if importlib.util.find_spec("pip") is None and shutil.which("pip") is None:
        missing["pip"] = "wheels"
    there = [name for name in ("pip", *_PROGRAMS) if name not in missing]
    if not missing:
        return Finding("clients", ok=True, message=", ".join(there))
    message = f"{', '.join(there) or 'none'}; missing: " + ", ".join(f"{name} ({use})" for name, use in missing.items())
    needed = [name for name in missing if name in {"pip", "apt-get"}]
    remedy = "Install them, or give what they would fetch in a mirror folder (--mirror DIR)"
    if needed == ["apt-get"]:
        remedy = "On a host without apt, name a Debian mirror (--debian-mirror) or a mirror folder (--mirror DIR)"
    return Finding("clients", ok=not needed, message=message, remedy=remedy if needed else "")
