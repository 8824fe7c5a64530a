"""Which of the GPUs that were found a run gets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus.model import Found, Gpu
from repro_tui.errors import InfrastructureError, ManifestError

WHERE = "resources.gpus"
_MIG_REMEDY = (
    "A GPU in MIG mode is used by its MIG devices: make some (nvidia-smi mig -cgi … -C), "
    "or end that mode (nvidia-smi -mig 0)"
)
_BUSY_BYTES = 1 << 30
"""A GPU with so much memory in use is busy, whoever uses it."""


def request_from(value: int | str | Sequence[str]) -> GpuRequest | None:
    """Return what a manifest asks for: a count, "all", or a list of UUIDs, indices and MIG devices; None for none."""
    if isinstance(value, bool):
        raise ManifestError(f"{value} is no number of GPUs", where=WHERE)
    if isinstance(value, int):
        return GpuRequest(count=value) if value > 0 else None
    if isinstance(value, str):
        if value != "all":
            raise ManifestError(
                f"{value!r} is no GPU request", where=WHERE, hint='a number, "all", or a list: gpus = ["GPU-…"]'
            )
        return GpuRequest(every=True)
    return GpuRequest(ids=tuple(value)) if value else None


def words(request: GpuRequest) -> str:
    """Return a request in words."""
    if request.ids:
        return ", ".join(request.ids)
    if request.every:
        return "all GPUs"
    return "1 GPU" if request.count == 1 else f"{request.count} GPUs"


def select(request: GpuRequest, found: Found) -> tuple[Gpu, ...]:
    """Return the GPUs for a request.

    A count takes the idle ones first, then in the order of their numbers. Raises InfrastructureError that names what is
    there.
    """
    if not found.gpus:
        raise InfrastructureError(
            f"the manifest asks for {words(request)}: {found.problem or 'this host has none'}",
            where=WHERE,
            hint=found.remedy or "Run it on a machine with a GPU",
        )
    if request.ids:
        chosen = tuple(dict.fromkeys(_one(wanted, request, found) for wanted in request.ids))
        if len({gpu.vendor for gpu in chosen}) > 1:
            raise _refused(request, found, "these are of two vendors", "Name GPUs of one vendor")
        return chosen
    vendor = found.gpus[0].vendor
    usable = [gpu for gpu in found.usable if gpu.vendor == vendor]
    if request.every:
        if not usable:
            raise _refused(request, found, "all are in MIG mode and have no MIG device", _MIG_REMEDY)
        return tuple(usable)
    if request.count > len(usable):
        remedy = _MIG_REMEDY if any(gpu.divided for gpu in found.gpus) else "Run it on a machine with more GPUs"
        raise _refused(request, found, f"{len(usable) or 'none'} can be used", remedy)
    whole = [gpu for gpu in usable if not gpu.is_mig]
    candidates = whole if len(whole) >= request.count else usable
    idle_first = sorted(candidates, key=busy)
    return tuple(sorted(idle_first[: request.count], key=usable.index))


def busy(gpu: Gpu) -> bool:
    """Say whether somebody else seems to use a GPU."""
    return gpu.memory_used >= _BUSY_BYTES


def _one(wanted: str, request: GpuRequest, found: Found) -> Gpu:
    """Return the GPU of an index, a UUID or the beginning of one that only one GPU has, as nvidia-smi takes it."""
    if re.fullmatch(r"\d+(:\d+)?", wanted):
        matches = [gpu for gpu in found.gpus if gpu.index == wanted][:1]  # NVIDIA's come first
    else:
        folded = wanted.lower()
        matches = [gpu for gpu in found.gpus if gpu.uuid.lower() == folded] or [
            gpu for gpu in found.gpus if gpu.uuid.lower().startswith(folded)
        ]
    if not matches:
        raise _refused(request, found, f"there is no {wanted}", "`nvidia-smi -L` lists them; an index is not a UUID")
    if len(matches) > 1:
        raise _refused(request, found, f"{wanted} fits {len(matches)} of them", "Write more of the UUID")
    if matches[0].divided:
        parts = ", ".join(gpu.index for gpu in found.gpus if gpu.index.startswith(f"{matches[0].index}:"))
        hint = f"Name MIG devices of it instead: {parts}" if parts else _MIG_REMEDY
        raise _refused(request, found, f"{wanted} is in MIG mode", hint)
    return matches[0]


def _refused(request: GpuRequest, found: Found, why: str, hint: str) -> InfrastructureError:
    return InfrastructureError(
        f"the manifest asks for {words(request)}, this host has {found}: {why}", where=WHERE, hint=hint
    )
