"""What a conda environment says of versions, in pip's words."""

from __future__ import annotations

import pytest

from repro_tui.authoring.conda import read


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy==1.26", "numpy==1.26"),
        ("numpy=1.26.4=py311h64a7726_0", "numpy==1.26.4"),
        ("numpy 1.26.*", "numpy==1.26.*"),
        ("numpy >=1.2, <2", "numpy>=1.2,<2"),
        ('"pytorch=2.*"', "torch==2.*"),
    ],
)
def test_versions(asked: str, wanted: str) -> None:
    (line,) = read(f"dependencies:\n- {asked}\n").wanted
    assert (line.number, line.text) == (2, wanted)


def test_what_pip_cannot_be_asked_for() -> None:
    found = read("dependencies:\n  - python >=3.10,<3.12\n  - mkl\n  - a=1|2\n  - https://x.example/a.conda\n")
    assert found.python == ">=3.10,<3.12"
    assert [line.text for line in found.left_out] == ["mkl"]
    assert [line.number for line in found.unclear] == [4, 5]
    assert found.wanted == ()
