"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a machine that others use too may stand still for a while
settings.load_profile("patient")
