"""Downloads one source distribution with pip's own finder and session, and runs nothing of it.

`pip download` runs a source distribution's build to learn its metadata; a file that is only to be read as an archive
must not run. pip's finder and session are used below that step, as pip-tools uses them, so that the host's whole
configuration holds: indexes, find-links, certificates, proxies, credentials. The file is started as a script, by the
interpreter that has this package, with pip's folder as its last argument:

    python -P pip_sdist.py NAME VERSION SHA256 TARGET [PIP_LIBRARY]

Exit code 0: TARGET holds the file, unchecked. 3: there is no such file, stderr says so.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 18


def fetch(name: str, version: str, sha256: str, target: Path) -> str:
    """Write the file to `target`; return why not where it cannot be had, else ""."""
    from packaging.version import Version

    command = importlib.import_module("pip._internal.commands").create_command("download")
    with command.main_context():
        options, _ = command.parse_args(["--no-deps", "--no-binary", ":all:", "--pre", "--no-cache-dir", name])
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, ignore_requires_python=True)  # noqa: SLF001 - see above
        candidates = finder.find_all_candidates(name)
        found = [each.link for each in candidates if Version(str(each.version)) == Version(version)]
        if not found:
            return f"no source distribution of {name} {version} was found"
        pinned = [link for link in found if link.hash == sha256]
        _save(session, (pinned or found)[0], target)
    return ""


def _save(session: Any, link: Any, target: Path) -> None:
    response = session.get(link.url.split("#", 1)[0], headers={"Accept-Encoding": "identity"}, stream=True)
    response.raise_for_status()
    with target.open("wb") as file:
        while chunk := response.raw.read(_CHUNK_BYTES):
            file.write(chunk)


def main() -> int:
    """Run; see the module's text."""
    name, version, sha256, target, *library = sys.argv[1:]
    sys.path[:0] = library
    try:
        reason = fetch(name, version, sha256, Path(target))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        print(f"ERROR: {reason}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
