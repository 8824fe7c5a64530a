"""The GPUs of a run: found before anything is downloaded, looked at from inside before training."""

from __future__ import annotations

import os
import shutil
import time

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.requests import is_elsewhere
from repro_tui.engines.gpus.select import busy, select
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.pipeline import containers
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.supervise import run_to_end
from repro_tui.verify import gpus as seen

_ARGV = ("python3", "/job/gpu_probe.py", "/out")


def choose_gpus(context: Context, request: GpuRequest, engine_host: str) -> None:
    """Leave `context.gpus`, and `context.gpu_devices` where the engine is on this machine and they can be known.

    The run keeps to these GPUs, by their UUIDs, whatever becomes idle meanwhile. Raises InfrastructureError where this
    host has not what is asked for.
    """
    context.gpus = request
    if is_elsewhere(context.engine.capabilities().get("gpus", "")):
        context.notice("info", f"which GPUs {engine_host} has is its daemon's to say; they are not watched from here")
        return
    chosen = select(request, discover())
    context.gpu_devices = chosen
    if all(gpu.uuid for gpu in chosen):
        context.gpus = GpuRequest(ids=tuple(gpu.uuid for gpu in chosen))
    for gpu in filter(busy, chosen):
        used = gpu.memory_used / (1 << 30)
        context.notice(
            "warning", f"GPU {gpu} is in use: {used:.1f} GiB of its memory are taken", hint="nvidia-smi lists by whom"
        )


def look_from_inside(context: Context) -> None:
    """Ask PyTorch in the image what it sees of the GPUs; raises where that is not what is asked for."""
    if context.gpus is None:
        return
    containers.write_readable(context.run.job / "gpu_probe.py", seen.GPU_PROBE.read_bytes())
    out = context.run.path / "gpu-probe"
    out.mkdir(exist_ok=True)
    out.chmod(0o755)
    spec = containers.gpu_probe_spec(context, _ARGV, out, context.log)
    run_to_end(context, spec).result("the GPU probe")
    facts = seen.read_gpus(out / "gpus.json")
    os.replace(out / "gpus.json", context.run.path / "gpus.json")
    shutil.rmtree(out, ignore_errors=True)
    request = context.gpus
    count = len(context.gpu_devices) or len(request.ids) or request.count or None
    seen.check_gpus(facts, count=count, uuids=[gpu.uuid for gpu in context.gpu_devices])
    if context.summary is None:
        return
    host = {**context.summary.get("host", {}), **seen.host_facts(facts)}
    context.summary["host"] = host
    recorded = context.loaded.record.host if context.loaded.record is not None else {}
    differences = seen.gpu_differences(recorded, host)
    context.record(
        CheckResult(
            at=time.time(),
            name=seen.GPU_CHECK,
            component="environment",
            status=CheckStatus.DIFFERS if differences else CheckStatus.MATCH,
            expected="; ".join(recorded.get("gpus") or ()),
            observed="; ".join(host["gpus"]),
            detail="; ".join(differences),
            required=False,
        )
    )
