"""Make the pictures of README.md and docs/tui.md from recorded runs: `python -m bench.pictures`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from tests.tui.record import NOW, RECORDED, run_id

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
SIZE = (110, 36)


async def picture(state: str, folder: Path) -> str:
    """Return the picture of the run screen of a run that is going on, or of the verdict of one that is over."""
    from repro_tui.runs.directory import RunDirectory
    from tests.tui.pilots import at_rest, opened, until_screen, until_text
    from tests.tui.snapshots import svg_of

    run = RunDirectory(folder / run_id(RECORDED / state))
    shutil.copytree(RECORDED / state, run.path)
    with run.locked() if state == "running" else nullcontext():
        async with opened(folder, run=run, size=SIZE) as pilot:
            await until_text(pilot, "step 25/60" if state == "running" else "step 60/60")
            if state != "running":
                await pilot.press("o")
                await until_screen(pilot, "verdict")
                await until_text(pilot, "Checks")
            await at_rest(pilot)
            return svg_of(pilot.app)


def main() -> None:
    """Write both."""
    PICTURES.mkdir(exist_ok=True)
    for state, name in (("running", "run"), ("reproduced", "verdict")):
        folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
        settings = {"XDG_CONFIG_HOME": str(folder), "COLORTERM": "truecolor", "TERM": "xterm-256color"}
        try:
            with mock.patch("time.time", return_value=NOW), mock.patch.dict(os.environ, settings):
                os.environ.pop("NO_COLOR", None)
                text = asyncio.run(picture(state, folder))
        finally:
            shutil.rmtree(folder)
        (PICTURES / f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
