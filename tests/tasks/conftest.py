"""The tests in inside/ need what the image holds: they run in it, and are not collected where there is no torch."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["inside"]
