"""An engine that cannot hand GPUs on is passed over where they are asked for, and says why where it is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from repro_tui.engines import choose as choosing
from repro_tui.engines.choose import choose
from repro_tui.engines.fake import FakeEngine
from repro_tui.errors import EngineError


class Saying(FakeEngine):
    def __init__(self, name: str, gpus: str) -> None:
        super().__init__()
        self.name = name
        self.gpus = gpus

    def capabilities(self) -> Mapping[str, str]:
        return {**super().capabilities(), "gpus": self.gpus}


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    says = {"docker": "not available (no toolkit; to do: install it)", "embedded": "enforced (device files)"}
    made = {name: (lambda name=name: Saying(name, says[name])) for name in says}
    monkeypatch.setattr(choosing, "ENGINES", made)
    return says


def test_the_first_that_can() -> None:
    assert choose(None, None).engine.name == "docker"
    choice = choose(None, None, gpus=True)
    assert choice.engine.name == "embedded"
    assert "docker does not work here (it hands no GPU to a container: no toolkit)" in choice.reason
    assert choose(None, "docker", gpus=True).engine.name == "embedded"


def test_one_that_is_named_and_cannot() -> None:
    with pytest.raises(EngineError, match="it hands no GPU to a container: no toolkit") as caught:
        choose("docker", None, gpus=True)
    assert caught.value.hint == "install it"


def test_none_that_can(engines: dict[str, str]) -> None:
    engines["embedded"] = "not available (no libcuda; to do: install the driver)"
    with pytest.raises(EngineError, match=r"docker: .*no toolkit; embedded: .*no libcuda") as caught:
        choose(None, None, gpus=True)
    assert caught.value.hint == "install it (docker) Or: install the driver (embedded)"
