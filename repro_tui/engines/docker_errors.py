"""What the docker SDK raises, as errors that a user can act on."""

from __future__ import annotations

from repro_tui.errors import DriftError, EngineError, InfrastructureError, StoreFullError


def engine_error(error: Exception, what: str) -> InfrastructureError | DriftError:
    """Return the error to raise; `what` says what failed. Our own errors are returned as they are."""
    if isinstance(error, InfrastructureError | DriftError):
        return error
    text = getattr(error, "explanation", None) or str(error)
    if "no space left on device" in text:
        return StoreFullError(f"{what}: {text}", hint="Free space on Docker's disk: docker system prune")
    return EngineError(f"{what}: {text}")
