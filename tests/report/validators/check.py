# mypy: ignore-errors
"""Runs in an environment of its own (see environment.py), with the network cut off: what others say of our forms.

Reads {"crates": {folder: profile}, "croissants": [...], "records": [croissant, record set, {file: path}],
"citations": [...]} from stdin and writes what each validator found to stdout.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
from pathlib import Path

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def cut(*_args: object, **_keywords: object) -> None:
    raise OSError("the network is cut off: a validator wanted to use it")


def seed(cache: Path, context: Path) -> None:
    """Put the one document that the RO-Crate validator looks up into its cache, from a file."""
    from requests.adapters import HTTPAdapter
    from requests_cache import CachedSession
    from urllib3 import HTTPResponse

    class FromFile(HTTPAdapter):
        def send(self, request: object, **_: object) -> object:
            body = io.BytesIO(context.read_bytes())
            headers = {"Content-Type": "application/ld+json"}
            answer = HTTPResponse(body, headers=headers, status=200, preload_content=False, request_url=request.url)
            return self.build_response(request, answer)

    session = CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1)
    session.mount("https://", FromFile())
    session.get(CONTEXT).raise_for_status()
    session.close()


def crate(folder: str, profile: str, cache: Path) -> dict[str, list[str]]:
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier=profile,
        requirement_severity=models.Severity.RECOMMENDED,
        offline=True,
        cache_path=cache,
    )
    result = services.validate(settings)
    found: dict[str, list[str]] = {
        "REQUIRED": [],
        "RECOMMENDED": [],
        "checks": [str(len(list(result.executed_checks)))],
    }
    for issue in result.get_issues():
        found[issue.severity.name].append(f"{issue.check.identifier}: {issue.message}")
    return found


def croissant(path: str) -> dict[str, list[str]]:
    import mlcroissant

    try:
        issues = mlcroissant.Dataset(jsonld=path).metadata.ctx.issues
    except mlcroissant.ValidationError as error:
        return {"errors": [str(error)], "warnings": []}
    return {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings)}


def records(path: str, record_set: str, files: dict[str, str]) -> list[dict[str, str]]:
    import mlcroissant

    found = mlcroissant.Dataset(jsonld=path, mapping=files).records(record_set)
    return [{key: value.decode() if isinstance(value, bytes) else value for key, value in row.items()} for row in found]


def citation(path: str) -> str:
    from cffconvert import Citation

    try:
        Citation(Path(path).read_text(encoding="utf-8")).validate()
    except Exception as error:  # whatever it raises, it is its verdict
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    wanted = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    cache = Path(wanted["cache"])
    if wanted.get("crates"):
        seed(cache, Path(wanted["context"]))
    socket.socket.connect = cut
    socket.getaddrinfo = cut
    said = {
        "crates": {folder: crate(folder, profile, cache) for folder, profile in wanted.get("crates", {}).items()},
        "croissants": {path: croissant(path) for path in wanted.get("croissants", [])},
        "records": [records(*each) for each in wanted.get("records", [])],
        "citations": {path: citation(path) for path in wanted.get("citations", [])},
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
