"""environment: look at the environment from inside, in a container of the same image, and compare it with the pins."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from typing import Any

from repro_tui.errors import DriftError, InfrastructureError
from repro_tui.events import CheckStatus
from repro_tui.pipeline import containers, gpus
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.supervise import run_to_end
from repro_tui.verify.environment import PROBE, compare_files, environment_checks, environment_hash, read_summary

_NOT_FOUND = 127
_ARGV = ("python3", "-I", "/job/probe.py", "/out")


def run(context: Context) -> StageResult:
    """Leave `context.summary`; drift ends the run here, named down to the file where that is known."""
    loaded = context.loaded
    context.summary = look(context)
    checks = environment_checks(
        context.summary,
        at=time.time(),
        pinned_hash=loaded.manifest.environment.hash,
        pinned_image=loaded.manifest.image.pinned,
        expected=loaded.record.environment if loaded.record is not None else None,
        inventory=context.image.inventory,
        observed_files=context.run.files,
    )
    for check in checks:
        context.record(check)
    differing = [check for check in checks if check.status is CheckStatus.DIFFERS and check.required]
    if differing:
        detail = next((check.detail for check in differing if check.detail), "")
        context.drift(
            DriftError(
                f"the environment is not the pinned one: {detail or differing[0].name}",
                component="environment",
                where="environment.hash",
                hint=_hint(context),
            )
        )
    gpus.look_from_inside(context)
    return StageResult(detail=environment_hash(context.summary))


def look(context: Context) -> dict[str, Any]:
    """Return what the probe sees of the environment from inside, compared with nothing."""
    containers.write_readable(context.run.job / "probe.py", PROBE.read_bytes())
    _probe(context)
    return read_summary(context.run.environment)


def _hint(context: Context) -> str:
    """Return what to do about a drift: where the store's copy of the image was changed, the command that heals it."""
    pins = context.loaded.manifest
    lock_path = pins.environment.lock
    damaged = context.engine.name == "embedded" and compare_files(context.image.inventory, context.run.files)
    if damaged and context.image.origin == "pulled":
        options = ["--store", str(context.store.root), "--platform", pins.image.platform, "--verify"]
        command = shlex.join(["repro-tui", "image", "pull", context.image.reference, *options])
        return f"files of the image were changed in the store; `{command}` makes it anew"
    if damaged and lock_path is not None:
        lock = context.loaded.resolve(lock_path)
        options = [
            "--lock",
            str(lock),
            "--store",
            str(context.store.root),
            "--platform",
            pins.image.platform,
            "--verify",
        ]
        command = shlex.join(["repro-tui", "image", "build", context.image.name, *options])
        return f"files of the image were changed in the store; `{command}` makes it anew"
    return "the checks name every difference; --allow-drift trains all the same"


def _probe(context: Context) -> None:
    out = context.run.path / "probe"
    out.mkdir(exist_ok=True)
    out.chmod(0o755)
    spec = containers.probe_spec(context, _ARGV, out, context.log)
    probed = run_to_end(context, spec)
    if probed.outcome is not None and probed.outcome.exit_code == _NOT_FOUND:
        raise _without_python(context)
    probed.result("the environment probe")
    for source, target in (
        (out / "environment.json", context.run.environment),
        (out / "files.jsonl", context.run.files),
    ):
        if source.is_file() and not source.is_symlink():
            os.replace(source, target)
    shutil.rmtree(out, ignore_errors=True)


def _without_python(context: Context) -> InfrastructureError:
    path = containers.probe_spec(context, _ARGV, context.run.path, context.log).environment.get("PATH", "")
    return InfrastructureError(
        f"the image has no `python3` on PATH ({path}), and the environment is looked at with it",
        where="image",
        hint="where the image has it elsewhere (/opt/conda/bin), name that first in PATH below environment.variables",
    )
