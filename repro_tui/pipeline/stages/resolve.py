"""resolve: read the manifest, see that this host can run it and that the recorded job is the one asked for."""

from __future__ import annotations

import dataclasses
import platform
import re
import time
from pathlib import Path

from repro_tui import __version__
from repro_tui.engines.choose import choose
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.select import request_from, select
from repro_tui.errors import DriftError, EngineError, InfrastructureError
from repro_tui.events import CheckResult, CheckStatus, EngineChosen
from repro_tui.manifest import code, loading, pins
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Stage
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.gpus import choose_gpus
from repro_tui.pipeline.plan import JOB, TASK_CODE, planned_checks
from repro_tui.pipeline.stages.artifacts import fetcher
from repro_tui.runs.state import of_stage
from repro_tui.verify.job import describe

_SHOWN = 20
_FEW = 4


def run(context: Context) -> StageResult:
    """Load the manifest, plan the checks, compare the job with its record, and choose an engine."""
    options = context.options
    loaded = loading.load(Path(options.manifest))
    if loaded.text.encode() != context.run.manifest.read_bytes():
        raise InfrastructureError(
            "the manifest was changed while the run was starting", where=options.manifest, hint="run it again"
        )
    context.loaded = loaded
    if options.seed is not None:
        context.loaded = with_seed(loaded, options.seed, of_series=context.run.series is not None)
    if len(options.seeds) > 0 and loaded.manifest.determinism.seed not in options.seeds:
        context.loaded = _without_digests(context.loaded)
    for planned in planned_checks(context.loaded, time.time()):
        context.record(planned)
    check_host(context.loaded)
    _choose_engine(context)
    for stage in context.loaded.manifest.every_stage:
        _check_code(context, stage)
    _check_job(context)
    return StageResult(detail=f"{loaded.manifest.experiment.name}, engine {context.engine.name}")


def with_seed(loaded: LoadedManifest, seed: int, *, of_series: bool = False) -> LoadedManifest:
    """Return the manifest with another seed; in a series its record is that of this seed, and has no bits to expect."""
    manifest = loaded.manifest
    if seed == manifest.determinism.seed:
        return loaded
    determinism = manifest.determinism.model_copy(update={"seed": seed})
    changed = dataclasses.replace(loaded, manifest=manifest.model_copy(update={"determinism": determinism}))
    if not of_series:
        return changed
    if loaded.record is not None:
        job = {**loaded.record.job, "determinism": {**loaded.record.job.get("determinism", {}), "seed": seed}}
        changed = dataclasses.replace(changed, record=loaded.record.model_copy(update={"job": job}))
    return _without_digests(changed)


def _without_digests(loaded: LoadedManifest) -> LoadedManifest:
    """Recorded bits are those of the recorded seed."""
    expected = loaded.manifest.expected.model_copy(update={"digests": []})
    return dataclasses.replace(loaded, manifest=loaded.manifest.model_copy(update={"expected": expected}))


def check_host(loaded: LoadedManifest) -> None:
    """Refuse what cannot work here, before anything is downloaded; raises InfrastructureError."""
    manifest = loaded.manifest
    machine = {"x86_64": "linux/amd64", "AMD64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}
    here = machine.get(platform.machine(), platform.machine())
    if here != manifest.image.platform:
        raise InfrastructureError(
            f"the image is for {manifest.image.platform}, this host is {here}",
            where="image.platform",
            hint="run it on a machine of that kind",
        )
    wanted = manifest.environment.cpu_capability
    flags = cpu_flags()
    needed = {"default": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
    missing = needed[wanted] - flags
    if flags and missing:
        raise InfrastructureError(
            f"the manifest pins CPU capability {wanted}, and this CPU has no {', '.join(sorted(missing))}",
            where="environment.cpu_capability",
            hint="run it on a CPU that has it; with less, the last bits of the result would be others",
        )


def cpu_flags() -> set[str]:
    """Return the flags of this host's CPU as the kernel names them; empty where it does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _choose_engine(context: Context) -> None:
    resources = context.loaded.manifest.resources
    request = request_from(context.options.gpus or resources.gpus)
    try:
        choice = choose(context.options.engine, resources.engine, gpus=request is not None)
    except EngineError:
        if request is not None and not (found := discover()).gpus:
            select(request, found)
        raise
    if not choice.availability.ok:
        raise EngineError(
            f"the {choice.engine.name} engine does not work here: {choice.availability.reason}",
            hint=choice.availability.remedy or "`repro-tui doctor` says more",
        )
    context.engine = choice.engine
    context.emit(
        EngineChosen(
            at=time.time(),
            engine=choice.engine.name,
            host=choice.availability.host,
            reason=choice.reason,
            capabilities=dict(choice.engine.capabilities()),
        )
    )
    for name in choice.engine.sweep():
        context.notice("info", f"removed {name}, left behind by a run whose worker died")
    if request is not None:
        choose_gpus(context, request, choice.availability.host)


def _check_code(context: Context, stage: Stage) -> None:
    task = stage.task
    if task.name is None or task.code_sha256 is None:
        return
    observed = code.builtin_code_digest(task.name)
    if observed != task.code_sha256 and _take_pinned_code(context, stage, task.code_sha256, observed):
        return
    same = context.compare(
        of_stage(stage.name, TASK_CODE),
        "job",
        expected=task.code_sha256,
        observed=observed,
        detail=f"the code of the built-in task {task.name} is not the pinned one",
    )
    if not same:
        context.drift(
            DriftError(
                f"the code of the built-in task {task.name} has digest {observed}, the pin says {task.code_sha256}",
                component="job",
                where=stage.key("task", "code_sha256"),
                hint="install the version of repro-tui that the manifest was recorded with",
            )
        )


def _take_pinned_code(context: Context, stage: Stage, pinned: str, installed: str) -> bool:
    """Take the pinned code of a built-in task where the store or a mirror has it, a bundle's too; say so."""
    folder = fetcher(context, context.progress("bytes")).held_tree(pinned, "the task's code")
    if folder is None:
        return False
    context.loaded = dataclasses.replace(context.loaded, task_code={**context.loaded.task_code, pinned: folder})
    said = (
        f"the built-in task {stage.task.name} of repro-tui {__version__} has other code "
        f"({installed}); the pinned code is used instead"
    )
    context.record(
        CheckResult(
            at=time.time(), name=of_stage(stage.name, TASK_CODE), component="job", status=CheckStatus.MATCH,
            expected=pinned, observed=pinned, detail=said,
        )
    )  # fmt: skip
    context.notice("info", said)
    with context.log.open("a", encoding="utf-8") as log:
        log.write(f"{said}: {folder}\n")
    return True


def _check_job(context: Context) -> None:
    """Compare everything the result depends on with what was recorded, key by key."""
    loaded = context.loaded
    if loaded.record is None:
        return
    job = pins.pinned_job(loaded)
    found = pins.differences(loaded.record.job, job)
    differences = [describe(*each) for each in found]
    context.record(
        CheckResult(
            at=time.time(),
            name=JOB,
            component="job",
            status=CheckStatus.DIFFERS if differences else CheckStatus.MATCH,
            expected=pins.digest(loaded.record.job),
            observed=pins.digest(job),
            detail="; ".join(differences[:_SHOWN]),
        )
    )
    if not differences:
        return
    more = f"; and {len(differences) - _FEW} more" if len(differences) > _FEW else ""
    error = DriftError(
        "the job is not the recorded one: " + "; ".join(differences[:_FEW]) + more,
        component="job",
        where=context.options.manifest,
        hint="undo the change, or record the changed job anew; --allow-drift runs it all the same",
    )
    if context.options.seed is not None and all(path.startswith("determinism.") for path, _, _ in found):
        context.notice("warning", f"{error.message} (going on: --seed asked for it)")
    else:
        context.drift(error)
