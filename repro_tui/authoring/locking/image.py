"""The image as a run would have it, and what the environment probe sees in it: digests and hash to pin.

This goes through the stages of a run, in a run directory that is thrown away; nothing is trained.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from repro_tui.artifacts.store import Store
from repro_tui.engines.choose import choose
from repro_tui.errors import ReproError
from repro_tui.events import Event, Notice, StageProgress
from repro_tui.images.model import Image
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Manifest
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.interrupt import Interrupt
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.reserve import Reserve
from repro_tui.pipeline.stages import environment, image, resolve
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal
from repro_tui.verify.environment import environment_hash

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that was obtained, and the hash of its environment where that was looked at."""

    image: Image
    environment_hash: str | None


class _Watched(Context):
    """A context whose events go to a person, too."""

    notify: Callable[[str], None]
    show: Progress

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Notice):
            self.notify(event.message)
        elif isinstance(event, StageProgress) and (event.done < event.total or not event.total):
            self.show(event.done, event.total, event.text)


def see(
    loaded: LoadedManifest,
    manifest: Manifest,
    options: Options,
    store: Store,
    *,
    probe: bool,
    notify: Callable[[str], None],
    progress: Progress,
) -> Seen:
    """Return the image of a manifest, with its environment's hash where `probe` asks for it.

    `manifest` stands in for that of `loaded`. Raises what the stages of a run raise.
    """
    with tempfile.TemporaryDirectory(prefix="repro-tui-lock-") as folder:
        run = RunDirectory.create(Path(folder).resolve(), "lock")
        Path(folder).chmod(0o755)
        with Journal(run.events) as journal:
            context = _Watched(
                run=run, options=options, journal=journal, store=store,
                interrupt=Interrupt(lambda: None, lambda: None), reserve=Reserve(run.path / ".reserve"),
            )  # fmt: skip
            context.notify, context.show = notify, progress
            context.loaded = dataclasses.replace(loaded, manifest=manifest)
            resolve.check_host(context.loaded)
            if probe or manifest.image.dockerfile is not None:
                # Only this engine starts from the store itself; the others would be given a copy of the image first.
                wish = "embedded" if manifest.image.dockerfile is None else None
                context.engine = choose(options.engine, manifest.resources.engine or wish).engine
            try:
                with closing(context.cleanup):
                    context.stage = "image"
                    obtained = image.obtain(context, prepare=probe)
                    if not probe:
                        return Seen(obtained, None)
                    context.stage = "environment"
                    return Seen(obtained, environment_hash(environment.look(context)))
            except ReproError:
                _keep(run.log(context.stage), notify)
                raise


def _keep(log: Path, notify: Callable[[str], None]) -> None:
    """Put a log where it outlives the run directory: it says why a build failed."""
    if log.is_file() and log.stat().st_size:
        descriptor, kept = tempfile.mkstemp(prefix="repro-tui-lock-", suffix=".log")
        os.close(descriptor)
        shutil.copyfile(log, kept)
        notify(f"the log is kept in {kept}")
