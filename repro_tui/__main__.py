"""`python -m repro_tui` is `repro-tui`."""

import sys

from repro_tui.cli.main import main

sys.exit(main())
