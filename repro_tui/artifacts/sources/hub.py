"""A file of a model-hub repository at a commit, by the hub's plain HTTPS addresses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

ENV_ENDPOINT = "HF_ENDPOINT"
ENV_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable
_DEFAULT_ENDPOINT = "https://huggingface.co"


def address(repository: str, repository_type: str, revision: str, path: str, environ: Mapping[str, str]) -> str:
    """Return the address of a file: of $HF_ENDPOINT, else of the public hub."""
    endpoint = (environ.get(ENV_ENDPOINT) or _DEFAULT_ENDPOINT).rstrip("/")
    kind = "datasets/" if repository_type == "dataset" else ""
    return f"{endpoint}/{kind}{quote(repository)}/resolve/{revision}/{quote(path)}"


def revision_address(repository: str, repository_type: str, revision: str, environ: Mapping[str, str]) -> str:
    """Return the address that says which commit a branch or tag is now."""
    endpoint = (environ.get(ENV_ENDPOINT) or _DEFAULT_ENDPOINT).rstrip("/")
    return f"{endpoint}/api/{repository_type}s/{quote(repository)}/revision/{quote(revision, safe='')}"


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the header that carries $HF_TOKEN, which private and gated repositories ask for; it is never printed."""
    token = environ.get(ENV_TOKEN, "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
