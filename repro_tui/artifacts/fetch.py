"""The fetcher: from a pin to checked bytes in the store.

In this order: the store, the mirrors, then the sources as listed. Of a source that names an archive (a wheel, a
package, a tarball) the archive itself is looked for in the store and the mirrors first. Bytes that are not the pinned
ones are an error at once; a source that has nothing is tried past.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from repro_tui.artifacts.distributions import Distributions, in_parallel
from repro_tui.artifacts.listed import listing_at
from repro_tui.artifacts.measuring import Measured, Measuring
from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.packages import Deb, DebPin, Wheel, WheelPin, WheelTarget
from repro_tui.artifacts.retrieval import Retrieval
from repro_tui.artifacts.sources.apt import ENV_DEBIAN_MIRROR
from repro_tui.artifacts.sources.base import Context, Progress, throttled
from repro_tui.artifacts.sources.run import runs_folder
from repro_tui.artifacts.store import Store, disk_errors
from repro_tui.manifest.models import Artifact, GitSource, HubSource, Source


class Fetcher:
    """Fetches artifacts, wheels and Debian packages; every path returned is checked content of the store.

    `base` is the folder that local paths start from: the manifest's; without `local` no path of this host that a
    manifest names is looked at. `debian_mirror` is the address of a Debian mirror (else $REPRO_TUI_DEBIAN_MIRROR),
    `runs` the folder of the runs (else $REPRO_TUI_RUNS, else ./runs).
    `notify` is told what a person should know, `progress` the bytes so far, the bytes in all (0 where not known) and
    what is being fetched; both may be called from any thread.
    """

    def __init__(
        self,
        store: Store,
        mirrors: Sequence[Path],
        *,
        base: Path,
        offline: bool = False,
        debian_mirror: str | None = None,
        runs: Path | None = None,
        local: bool = True,
        notify: Callable[[str], None] = lambda _: None,
        progress: Progress = lambda _done, _total, _text: None,
        target: WheelTarget | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environment = dict(os.environ if environ is None else environ)
        self._target = target or WheelTarget()
        self._context = Context(
            store=store,
            base=base,
            environ=environment,
            debian_mirror=debian_mirror or environment.get(ENV_DEBIAN_MIRROR) or None,
            runs=runs or runs_folder(environment),
            local=local,
            notify=notify,
            progress=throttled(progress),
        )
        folders = [Mirror(folder) for folder in mirrors]
        self._distributions = Distributions(self._context, folders, offline=offline)
        self._measuring = Measuring(self._context, self._distributions, offline=offline, target=self._target)
        self._retrieval = Retrieval(self._context, self._distributions, folders, offline=offline, target=self._target)

    def stop(self) -> None:
        """End whatever other threads fetch with this fetcher, within a fraction of a second; it serves no more."""
        self._context.stop.set()

    def artifact(self, artifact: Artifact) -> Path:
        """Return the artifact: a file, or a folder for one that is pinned as a tree.

        Raises DigestMismatchError for other bytes, DriftError for another size, ArtifactUnavailableError when no source
        has it.
        """
        return self._retrieval.artifact(artifact)

    def measure(self, name: str, sources: Sequence[Source], listing: str | None = None) -> Measured:
        """Return what an artifact that is not pinned yet is, by the first of its sources that has it.

        Of a folder with a `listing` it is what that names. Raises ArtifactUnavailableError when none has it.
        """
        listed = None if listing is None else listing_at(self._context.base, listing, name)
        return self._measuring.measure(name, sources, listed)

    def commit(self, source: GitSource | HubSource, name: str) -> str:
        """Return the commit that a branch or tag of a source is now; raises ArtifactUnavailableError."""
        return self._measuring.commit(source, name)

    def artifacts(self, artifacts: Sequence[Artifact]) -> list[Path]:
        """Return several artifacts, in order, fetched two at a time; raises as `artifact` does."""
        return in_parallel(self.artifact, artifacts, workers=2, stop=self._context.stop)

    def held_tree(self, tree_sha256: str, component: str) -> Path | None:
        """Return the folder with that tree digest where the store or a mirror has it; no source is asked.

        Raises DigestMismatchError where a mirror has another folder under the digest.
        """
        return self._retrieval.held_tree(tree_sha256, component)

    def wheel(self, name: str, version: str, sha256s: Collection[str]) -> Path:
        """Return the wheel with one of the digests that fits the image best; raises as `artifact` does."""
        return self.wheels([Wheel(name, version, sha256s)])[0]

    def wheels(self, pins: Sequence[WheelPin]) -> list[Path]:
        """Return a wheel for each pin, in order; what is missing comes in one go."""
        with disk_errors(self._context.store.root):
            return self._distributions.wheels(pins, self._target)

    def deb(self, name: str, version: str, architecture: str, sha256: str, pool_path: str = "") -> Path:
        """Return the Debian package with that digest; raises as `artifact` does."""
        return self.debs([Deb(name, version, architecture, sha256, pool_path)])[0]

    def debs(self, pins: Sequence[DebPin]) -> list[Path]:
        """Return each Debian package, in order; what is missing comes in one go."""
        with disk_errors(self._context.store.root):
            return self._distributions.debs(pins)
