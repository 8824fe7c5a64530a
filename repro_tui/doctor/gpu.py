"""Is there a GPU, may this user open it, and what would hand it to a container. None is fine."""

from __future__ import annotations

from repro_tui.doctor.finding import Finding
from repro_tui.engines.gpus import cdi, libraries
from repro_tui.engines.gpus.discover import discover, nvidia_driver
from repro_tui.engines.gpus.handing import node_problem, permission_remedy, shared_nodes
from repro_tui.engines.gpus.model import AMD, HERE, Found, Ground

_NO_MIG_DEVICE = "Make MIG devices (nvidia-smi mig -cgi … -C), or end that mode (nvidia-smi -mig 0)"


def check(ground: Ground = HERE) -> Finding:
    """Look at the driver, its device files and libraries, and at what Docker and Podman need for it."""
    found = discover(ground)
    if not found.gpus:
        if not found.driver:
            return Finding("GPU", ok=True, message="none: runs use the CPU only")
        return Finding("GPU", ok=False, message=found.problem, remedy=found.remedy)
    kind = "AMD" if found.gpus[0].vendor == AMD else "NVIDIA"
    message = f"{found} (driver {found.driver}, by {found.source})"
    details = _details(found, ground)
    if not found.usable:
        return Finding(
            "GPU", ok=False, message=f"{message}: all are in MIG mode", remedy=_NO_MIG_DEVICE, details=details
        )
    nodes = [*shared_nodes(found.gpus[0], ground), *(node for gpu in found.usable for node in gpu.nodes)]
    for node in dict.fromkeys(nodes):
        problem = node_problem(node, ground)
        if problem:
            return Finding(
                "GPU",
                ok=False,
                message=f"{message}: {problem}",
                remedy=permission_remedy(node, ground),
                details=details,
            )
    if kind == "NVIDIA" and not details["CDI"].startswith("/"):
        return Finding("GPU", ok=True, message=message, remedy=f"For Podman: {cdi.REMEDY}", details=details)
    return Finding("GPU", ok=True, message=message, details=details)


def _details(found: Found, ground: Ground) -> dict[str, str]:
    """Return what each way of handing GPUs on finds here."""
    if found.gpus[0].vendor == AMD:
        return {"device files": ", ".join(node for gpu in found.gpus for node in gpu.nodes)}
    driver = libraries.find(nvidia_driver(ground) or found.driver, ground)
    places = sorted({str(library.path.parent) for library in driver})
    specifications = cdi.read(ground=ground)
    toolkit = (ground.ask(["nvidia-ctk", "--version"]) or "").strip().splitlines()
    parts = [gpu for gpu in found.gpus if gpu.is_mig]
    return {
        "libraries": f"{len(driver)} in {', '.join(places)}" if driver else "none of this driver's version",
        "toolkit": toolkit[0] if toolkit else "not installed; Docker and Podman need it, the embedded engine does not",
        "CDI": ", ".join(specifications.files) or "no specification names a GPU",
        **({"MIG": f"{len(parts)} devices"} if parts else {}),
    }
