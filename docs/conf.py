"""Builds these pages: `make docs`. They are plain Markdown, and read as well without being built."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from repro_tui import __version__

project = "repro-tui"
author = "The repro-tui maintainers"
release = version = __version__

extensions = ["myst_parser", "sphinxarg.ext", "manifest_reference"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build", "pictures/*.md"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nitpicky = True
myst_ref_domains = ["std"]

html_theme = "furo"
html_title = f"repro-tui {__version__}"
html_show_sourcelink = False
html_show_copyright = False
