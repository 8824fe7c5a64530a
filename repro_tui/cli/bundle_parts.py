"""What the commands that take a manifest do where they are given a bundle: check it, open it, say what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.image_parts import Progress
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    from repro_tui.bundles.opening import Bundle


_SHOWN = 10


def given_bundle(path: Path, store: Path | None) -> Bundle | None:
    """Return the bundle at a path, checked and opened in the store; None for what is no bundle. Raises BundleError."""
    from repro_tui.bundles.reading import looks_like_bundle

    if not looks_like_bundle(path):
        return None
    from repro_tui.artifacts.store import Store, default_store_path
    from repro_tui.bundles.opening import open_bundle

    opened = open_bundle(path, Store(store or default_store_path()), progress=Progress())
    size_bytes = opened.index.size_bytes
    console.say(f"{path}: {len(opened.index.files)} files, {size_bytes / 1e6:.1f} MB, as the index says")
    return opened


def refuse_what_is_missing(bundle: Bundle, store: Path | None, mirrors: Sequence[Path]) -> None:
    """Raise UsageError where a run from a bundle, without a network, would lack something or ask for one."""
    from repro_tui.artifacts.mirrors import Mirror
    from repro_tui.artifacts.store import Store, default_store_path
    from repro_tui.runs.words import printable

    if bundle.loaded.manifest.resources.network:
        raise UsageError(
            "the bundle's manifest asks for a network inside the container, and a bundle runs without one",
            where="resources.network", hint="with --online it is allowed to",
        )  # fmt: skip
    folders = [Mirror(folder) for folder in mirrors]
    missing = [
        each
        for each in bundle.lacks(Store(store or default_store_path()))
        if not any(folder.files(each.sha256 or "") or folder.tree(each.tree_sha256 or "") for folder in folders)
    ]
    if missing:
        names = ", ".join(f"{each.artifact} ({each.reason})" for each in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UsageError(
            f"not in the bundle: {printable(names)}{more}", where=str(bundle.path),
            hint="--online fetches it from the sources that the manifest names; --mirror DIR names a folder with files "
            f"named by digest: {missing[0].sha256 or missing[0].tree_sha256}",
        )  # fmt: skip
