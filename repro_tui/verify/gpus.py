"""What the GPU probe saw, against what the manifest asks for; and the same as facts of the host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_tui.errors import InfrastructureError
from repro_tui.verify.metrics import open_output

GPU_PROBE = Path(__file__).with_name("gpu_probe.py")
"""The file to run inside the container; it imports torch, so the host never imports it."""

GPU_CHECK = "GPU"
"""Name of the check that informs of other GPUs than the recorded ones."""

COMPARED = ("driver", "gpus", "gpu_runtime", "cudnn")
"""Facts of a host whose difference a person should know of where results differ."""

_WHERE = "resources.gpus"
_MOST_BYTES = 1 << 20


def read_gpus(path: Path) -> dict[str, Any]:
    """Return what the probe wrote; raises InfrastructureError where that is nothing. A link or a pipe is not read."""
    try:
        with open_output(path.parent, path.name) as file:
            facts = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InfrastructureError(f"the GPU probe left no answer: {error}", where=str(path)) from None
    gpus = facts.get("gpus") if isinstance(facts, dict) else None
    if not isinstance(gpus, list) or not all(_is_gpu(each) for each in gpus):
        raise InfrastructureError("the GPU probe's answer is not what it writes", where=str(path))
    return dict(facts)


def _is_gpu(value: Any) -> bool:
    kinds = {"name": str, "uuid": str, "memory_bytes": int, "compute_capability": str}
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def check_gpus(facts: Mapping[str, Any], *, count: int | None, uuids: Sequence[str] = ()) -> None:
    """Raise InfrastructureError where the image does not see the GPUs that are asked for, and they do not compute.

    `count` None is any number but none; `uuids` are those that the container was given, where they are known.
    """
    error = str(facts.get("error") or "")
    if error:
        raise InfrastructureError(
            f"PyTorch in the image cannot use the GPU: {error}", where=_WHERE, hint=_hint(facts, error)
        )
    gpus = facts["gpus"]
    if not gpus or (count is not None and len(gpus) != count):
        wanted = "GPUs" if count is None else f"{count} GPU{'s' if count != 1 else ''}"
        raise InfrastructureError(
            f"{wanted} {'was' if count == 1 else 'were'} asked for, PyTorch in the image sees {len(gpus) or 'none'}",
            where=_WHERE,
            hint=_hint(facts, "")
            if not gpus
            else "Take CUDA_VISIBLE_DEVICES and its like out of the manifest's variables",
        )
    seen = {_bare(str(gpu.get("uuid", ""))) for gpu in gpus} - {""}
    missing = [uuid for uuid in uuids if seen and uuid and _bare(uuid) not in seen]
    if missing:
        raise InfrastructureError(
            f"GPU {', '.join(missing)} was asked for, PyTorch in the image sees "
            + ", ".join(f"{gpu['name']} ({gpu.get('uuid') or 'no UUID'})" for gpu in gpus),
            where=_WHERE,
            hint="The engine handed on others: write its CDI specification anew, or take another engine",
        )
    broken = [gpu["name"] for gpu in gpus if not gpu.get("computes")]
    if broken:
        raise InfrastructureError(
            f"{', '.join(broken)} computes a wrong sum",
            where=_WHERE,
            hint="Take this GPU out of use: nvidia-smi -q shows its errors",
        )


def host_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of the host, and is part of no hash."""
    gpus = facts["gpus"]
    defaults = facts.get("defaults") or {}
    able = f", its driver up to {facts['driver_runtime']}" if facts.get("driver_runtime") else ""
    return {
        "gpus": [
            f"{gpu['name']}, {gpu['memory_bytes'] / (1 << 30):.1f} GiB, compute capability {gpu['compute_capability']}"
            for gpu in gpus
        ],
        "gpu_uuids": [str(gpu.get("uuid", "")) for gpu in gpus],
        "driver": str(facts.get("driver") or ""),
        "gpu_runtime": f"{facts.get('runtime', '')}{able}",
        "cudnn": str(facts.get("cudnn") or ""),
        "gpu_math": ", ".join(
            [f"bf16 {'yes' if facts.get('bf16') else 'no'}"]
            + [f"{name.replace('_', ' ')} {_word(value)}" for name, value in sorted(defaults.items()) if value != ""]
        ),
    }


def gpu_differences(expected: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """Return in words how the GPUs differ from those of the recorded run; nothing where none were recorded."""
    if not expected.get("gpus"):
        return []
    return [
        f"{key.replace('_', ' ')}: {_word(observed.get(key))}, recorded {_word(expected.get(key))}"
        for key in COMPARED
        if expected.get(key) and expected.get(key) != observed.get(key)
    ]


def _hint(facts: Mapping[str, Any], error: str) -> str:
    runtime = facts.get("runtime") or ""
    if not runtime:
        return "The image needs a PyTorch for GPUs: the recipe torch-cuda has one"
    folded = error.lower()
    driver = facts.get("driver") or "of unknown version"
    able = f" (CUDA {facts['driver_runtime']})" if facts.get("driver_runtime") else ""
    if "too old" in folded or "insufficient" in folded:
        return (
            f"The image has {runtime}, the host's driver is {driver}{able}: update the driver, or take an image with "
            "an older CUDA"
        )
    if "busy" in folded or "unavailable" in folded:
        return "Another process has the GPU for itself (compute mode): `nvidia-smi` lists it; wait, or name another GPU"
    if "no kernel image" in folded or "not compatible" in folded:
        return f"This PyTorch ({runtime}) has no code for this GPU: take an image built for it, or another GPU"
    if "out of memory" in folded:
        return "Others use the GPU's memory: `nvidia-smi` lists them; wait, or name another GPU"
    return (
        f"The image has {runtime}, the host's driver is {driver}{able}. `repro-tui doctor` looks at the driver, its "
        "libraries and device files; the log of this stage says more"
    )


def _bare(uuid: str) -> str:
    """Return a UUID as it can be compared: PyTorch leaves out the prefix, and shows AMD's, a text, as its bytes."""
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", "").lower()
    try:
        text = bytes.fromhex(bare).decode("ascii")
        int(text, 16)
    except ValueError:
        return bare
    return text.lower() if len(text) == 16 else bare


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
