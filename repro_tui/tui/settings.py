"""What a user keeps: theme, ASCII, keys by action id, in settings.toml in the platform's folder for settings.

A file that cannot be read is a notice on the screen and otherwise as if it was not there: nothing here raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from repro_tui.tui import actions

DEFAULT_THEME = "textual-dark"


@dataclass(slots=True)
class Settings:
    """The settings; `problems` is what was wrong with the file, in words."""

    theme: str = DEFAULT_THEME
    ascii: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def path() -> Path:
    """Return where the settings are."""
    import platformdirs

    return platformdirs.user_config_path("repro-tui") / "settings.toml"


def read(file: Path | None = None) -> Settings:
    """Return the settings; what the file says wrongly is left out and noted."""
    found = Settings()
    file = file or path()
    try:
        body = _parsed(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return found
    except (OSError, ValueError) as error:
        found.problems.append(f"{file}: {error}")
        return found
    ids = {action.id for action in actions.ACTIONS}
    for key, value in body.items():
        if key == "theme" and isinstance(value, str):
            found.theme = value
        elif key == "ascii" and isinstance(value, bool):
            found.ascii = value
        elif key == "keys" and isinstance(value, dict):
            for name, keys in _flat(value):
                if name in ids and isinstance(keys, str) and keys:
                    found.keys[name] = keys
                else:
                    found.problems.append(f"{file}: keys.{name}: there is no such action, or no key is named")
        else:
            found.problems.append(f"{file}: {key}: not a setting, or not of its type")
    return found


def write(settings: Settings, file: Path | None = None) -> None:
    """Keep the settings; raises OSError where that cannot be."""
    file = file or path()
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"theme = {_quoted(settings.theme)}", f"ascii = {str(settings.ascii).lower()}"]
    if settings.keys:
        lines += ["", "[keys]", *(f"{_quoted(name)} = {_quoted(keys)}" for name, keys in settings.keys.items())]
    beside = file.with_suffix(".new")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    beside.replace(file)


def _parsed(text: str) -> dict[str, object]:
    import tomllib  # takes a moment, and most have no such file

    return tomllib.loads(text)


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Return the keys of a table with dots: `run.zoom = "Z"` and `"run.zoom" = "Z"` are the same to a person."""
    found: list[tuple[str, object]] = []
    for name, value in table.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
