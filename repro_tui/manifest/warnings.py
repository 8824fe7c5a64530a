"""What is allowed in a manifest and still worth a word to its author."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.loose import LOCK_HINT, unpinned_keys
from repro_tui.manifest.models import Stage
from repro_tui.manifest.pins import differences, pinned_job
from repro_tui.manifest.problems import Problem, show


def warnings(loaded: LoadedManifest) -> list[Problem]:
    """Return the warnings of a good manifest, in the form of problems."""
    found = (*_unpinned(loaded), *_code(loaded), *_record(loaded), *_nothing_expected(loaded))
    return [Problem(path, loaded.line_of(path), what, allowed, hint) for path, what, allowed, hint in found]


def _unpinned(loaded: LoadedManifest) -> Iterator[tuple[str, str, str, str]]:
    """Tell what a run does without, and checks less for; the code has its own warning."""
    hint = f"without it a run checks less: {LOCK_HINT.replace('MANIFEST', str(loaded.path))}"
    keys = {each.key: each for each in unpinned_keys(tomllib.loads(loaded.text))}
    if "image.manifest_digest" in keys:
        keys.pop("image.config_digest", None)  # locking pins both
    yield from ((key, each.found, each.wanted, hint) for key, each in keys.items() if not _is_code(key))


def _code(loaded: LoadedManifest) -> Iterator[tuple[str, str, str, str]]:
    for stage in loaded.manifest.every_stage:
        yield from _code_of(stage, loaded)


def _is_code(key: str) -> bool:
    return key == "task.code_sha256" or key.endswith(".task.code_sha256")


def _code_of(stage: Stage, loaded: LoadedManifest) -> Iterator[tuple[str, str, str, str]]:
    task, key = stage.task, stage.key("task", "code_sha256")
    if task.name is None or task.code_sha256 in loaded.task_code:
        return
    now = builtin_code_digest(task.name)
    if task.code_sha256 is None:
        yield (
            key,
            "nothing",
            f"{now}, this version's code",
            "without it a change of the code is not noticed",
        )
    elif task.code_sha256 != now:
        yield (
            key,
            task.code_sha256,
            f"{now}, this version's code",
            "a run will say that the code has drifted: use the version that made the record, or record again",
        )


def _record(loaded: LoadedManifest) -> Iterator[tuple[str, str, str, str]]:
    """Tell where the manifest no longer asks for what was recorded; the code has its own warning."""
    if loaded.record is None:
        return
    for path, recorded, now in differences(loaded.record.job, pinned_job(loaded)):
        if not _is_code(path):
            yield path, show(now), f"{show(recorded)}, as recorded", "a run will say that this has drifted"


def _nothing_expected(loaded: LoadedManifest) -> Iterator[tuple[str, str, str, str]]:
    expected = loaded.manifest.expected
    if not expected.metrics and not expected.digests:
        hint = "a run can then not end as REPRODUCED"
        yield "expected", "nothing", "at least one of expected.metrics and expected.digests", hint
