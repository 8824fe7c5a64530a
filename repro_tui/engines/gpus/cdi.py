"""CDI, the Container Device Interface: which NVIDIA devices its specifications name, and under what names.

A specification is YAML or JSON that `nvidia-ctk cdi generate` writes. Of it only the kind and the devices' names are
read here; the container engine does the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from repro_tui.engines.gpus.model import HERE, Gpu, Ground
from repro_tui.errors import EngineError

KIND = "nvidia.com/gpu"
SYSTEM_FOLDERS = ("/etc/cdi", "/var/run/cdi", "/run/cdi")
GENERATE = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
REMEDY = f"Install NVIDIA's container toolkit and let it write one: {GENERATE}"


@dataclass(frozen=True, slots=True)
class Devices:
    """Names of NVIDIA's devices ("0", "0:1", "GPU-…", "all"), and the files that they were found in."""

    names: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()


def user_folder(ground: Ground = HERE) -> str:
    """Return the folder where an ordinary user may have specifications of his own."""
    home = ground.variables.get("HOME", "/root")
    return f"{ground.variables.get('XDG_CONFIG_HOME') or f'{home}/.config'}/cdi"


def read(folders: Sequence[str] = SYSTEM_FOLDERS, ground: Ground = HERE) -> Devices:
    """Return what the specifications in some folders name; an unreadable one names nothing."""
    names: set[str] = set()
    files: dict[str, None] = {}
    seen = set()
    for folder in folders:
        for path in sorted(ground.path(folder).glob("*")):
            if path.suffix not in {".yaml", ".json"} or path.resolve() in seen:
                continue
            seen.add(path.resolve())
            found = _names(ground.read(f"{folder}/{path.name}"))
            if found:
                names |= found
                files[str(PurePosixPath(folder) / path.name)] = None
    return Devices(frozenset(names), tuple(files))


def _names(text: str) -> set[str]:
    try:
        body = json.loads(text)
    except ValueError:
        if not re.search(rf"^kind:\s*[\"']?{re.escape(KIND)}[\"']?\s*$", text, re.MULTILINE):
            return set()
        return set(re.findall(r"^\s*(?:- )?name:\s*[\"']?([^\"'\s]+)[\"']?\s*$", text, re.MULTILINE))
    devices: Any = body.get("devices") if isinstance(body, dict) and body.get("kind") == KIND else None
    return {str(each.get("name")) for each in devices or () if isinstance(each, dict)}


def of_qualified(ids: Iterable[str]) -> Devices:
    """Return the devices of a list of qualified names, as a daemon tells them: "nvidia.com/gpu=0"."""
    prefix = f"{KIND}="
    return Devices(frozenset(name.removeprefix(prefix) for name in ids if name.startswith(prefix)))


def qualified(gpus: Sequence[Gpu], devices: Devices) -> list[str]:
    """Return the qualified names of GPUs: by UUID where the specification has it, else by index.

    Where no names are known (a remote daemon's), the UUID is taken. Raises EngineError for one that is not named.
    """
    result = []
    for gpu in gpus:
        known = [name for name in (gpu.uuid, gpu.index, f"gpu{gpu.index}", f"mig{gpu.index}") if name in devices.names]
        if not known and devices.names:
            raise EngineError(
                f"no CDI specification names GPU {gpu}; they name {', '.join(sorted(devices.names))}",
                where=", ".join(devices.files),
                hint=f"It is older than the GPUs of this host; write it anew: {GENERATE}",
            )
        result.append(f"{KIND}={known[0] if known else gpu.uuid or gpu.index}")
    return result
