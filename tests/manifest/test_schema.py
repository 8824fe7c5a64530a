"""The JSON Schema: shipped as it is made, and of one mind with the loader."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from repro_tui.manifest.problems import Problem
from repro_tui.manifest.schema import SHIPPED, manifest_schema, schema_text

SCHEMA = manifest_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), "write it anew: SHIPPED.write_text(schema_text())"


def test_it_is_a_schema_of_its_draft() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def tables(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema["$defs"].values()


def test_every_key_says_what_it_means() -> None:
    for table in tables(SCHEMA):
        assert table["description"]
        assert table["additionalProperties"] is False
        for key, value in table["properties"].items():
            reference = value.get("$ref", "").removeprefix("#/$defs/")
            assert value.get("description") or SCHEMA["$defs"][reference]["description"], key


def test_toml_has_no_null() -> None:
    assert '"null"' not in json.dumps(SCHEMA)


def test_good_manifests_are_valid(good: str, with_command: str) -> None:
    for text in (good, with_command, good.replace("[determinism]", '[resources]\nmemory = "8 GiB"\n[determinism]')):
        assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[experiment]", "[experiment]\ntitel = 1"),
        ("seed = 42", 'seed = "42"'),
        ("epochs = 2", "epoch = 2"),
        ("epochs = 2", "epochs = 0"),
        ('artifact = "train"\n', ""),
        ("fraction = 0.1\n", ""),
        ("text = 0", "text = 0\nstratified = true"),
        ("absolute = 0.01", ""),
        (', path = "train.tsv"', ", sdist = 1"),
        ('type = "local", path = "test.tsv"', 'type = "https", url = "https://e.org/a.zip", path = "a"'),
        ('recipe = "torch-cpu"', ""),
        ("[determinism]", '[resources]\nmemory = "8 gigs"\n[determinism]'),
        (f'sha256 = "{"a" * 64}"', f'sha256 = "{"A" * 64}"'),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(
    good: str, problems: Callable[..., list[Problem]], old: str, new: str
) -> None:
    assert problems((old, new))
    assert list(VALIDATOR.iter_errors(tomllib.loads(good.replace(old, new))))
