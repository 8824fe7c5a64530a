"""Where packages come from: uv is told what pip is told on this host, by variables of its process and nothing else.

No address of it is ever written to a file of the project.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping

_TIMEOUT_S = 60.0

_LISTS = {
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
}
"""pip separates the items by blanks, uv by blanks too, but for UV_FIND_LINKS: by commas."""


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings on this host, its variables included, by their long names; empty where there is no pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False,
            timeout=_TIMEOUT_S, env=dict(environ),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return pip_variables(environ)
    found: dict[str, str] = {}
    for prefix in ("global.", "site.", "install.", "download.", ":env:."):  # what comes later prevails, as with pip
        for line in done.stdout.splitlines():
            key, separator, value = line.partition("=")
            if separator and key.startswith(prefix):
                found[key.removeprefix(prefix)] = _unquoted(value)
    return {**pip_variables(environ), **found}


def pip_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what variables alone say to pip: all there is to know where there is no pip to ask."""
    return {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_")
    }


def uv_settings(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return environment and options of a uv process that looks where pip looks; uv's own variables stay as set."""
    settings = pip_settings(environ)
    made: dict[str, str] = {}
    if index := settings.get("index-url"):
        made["UV_DEFAULT_INDEX"] = index
    for name, variable in _LISTS.items():
        if items := settings.get(name, "").split():
            made[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(items)
    if certificates := settings.get("cert"):
        made["SSL_CERT_FILE"] = certificates
    if proxy := settings.get("proxy"):
        made |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}
    own = {"UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    no_index = settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}
    return {**own, **made, **environ}, ["--no-index"] if no_index else []


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value
