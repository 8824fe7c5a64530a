"""What the tables are made of: the base class, constrained types with their meaning in words, and rules between keys.

Digests are lower-case hex SHA-256, without prefix where they name a file or tree, `sha256:…` where OCI has it so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

WORDS: dict[str, str] = {}
"""What a pattern allows, in words, for the reader of a problem."""


def pattern(expression: str, words: str) -> StringConstraints:
    """Return the constraint that text matches `expression`, and remember what that is in `words`."""
    WORDS[expression] = words
    return StringConstraints(pattern=expression)


SHA256_PATTERN = r"^[0-9a-f]{64}$"
OCI_DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
IMAGE_HOST = r"(?:\[[0-9a-fA-F:]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?"
_IMAGE_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE_PATH = rf"{_IMAGE_PART}(?:/{_IMAGE_PART})*"
IMAGE_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
REFERENCE_PATTERN = rf"^(?:{IMAGE_HOST}/)?{IMAGE_PATH}(?::{IMAGE_TAG})?@sha256:[0-9a-f]{{64}}$"
GIT_COMMIT_PATTERN = r"^[0-9a-f]{40}$"

Sha256 = Annotated[str, pattern(SHA256_PATTERN, "a SHA-256: 64 lower-case hexadecimal digits, without a prefix")]
OciDigest = Annotated[str, pattern(OCI_DIGEST_PATTERN, "a digest: `sha256:` and 64 lower-case hexadecimal digits")]
Reference = Annotated[str, pattern(REFERENCE_PATTERN, "an image by digest: NAME@sha256:DIGEST, the name in lower case")]
GitCommit = Annotated[str, pattern(GIT_COMMIT_PATTERN, "a commit: all 40 hexadecimal digits")]
Name = Annotated[
    str,
    pattern(
        r"^[a-z0-9][a-z0-9._-]{0,63}$",
        "a name: lower-case letters, digits, '.', '_' and '-', at most 64, a letter or digit first",
    ),
]
HttpUrl = Annotated[str, pattern(r"^https?://\S+$", "an address that begins with https:// or http://")]
VariableName = Annotated[
    str,
    pattern(
        r"^[A-Za-z_][A-Za-z0-9_]*$", "the name of an environment variable: letters, digits and '_', no digit first"
    ),
]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE_PATTERN = rf"^\s*(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})\s*$"


def parse_size(value: Any) -> Any:
    """Turn "8 GiB" into bytes; whole numbers are bytes already. Raises ValueError for an unknown unit."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(_SIZE_PATTERN, value)
    if found is None:
        raise ValueError(f'a whole number of bytes, or a number and one of {", ".join(_UNITS)}, like "8 GiB"')
    return int(float(found[1]) * _UNITS[found[2]])


_GPU_ID_PATTERN = r"^(GPU-[0-9A-Fa-f-]+|MIG-[0-9A-Za-z/-]+|\d{1,3}(:\d{1,3})?)$"


def _gpus(value: Any) -> Any:
    """Check a wish for GPUs; raises ValueError with what is allowed."""
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, list) and value:
        wrong = [each for each in value if not isinstance(each, str) or not re.fullmatch(_GPU_ID_PATTERN, each)]
        if not wrong and len(set(value)) == len(value):
            return value
    raise ValueError(
        'how many, "all", or a list of different UUIDs ("GPU-…"), indices ("0") or MIG devices ("MIG-…", "0:1")'
    )


MAX_SEEDS = 1000
"""More runs than that are no series anybody waits for."""
_SEED_LIMIT = 2**32


def _seeds(value: Any) -> Any:
    """Check how many seeds, or which; raises ValueError with what is allowed."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SEEDS:
        return value
    if isinstance(value, list) and 1 <= len(value) <= MAX_SEEDS and all(map(_is_seed, value)):
        return value
    raise ValueError(f"how many seeds, from 1 to {MAX_SEEDS}, or an array of so many whole numbers from 0 to 2^32 - 1")


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _SEED_LIMIT


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in value or not value.isprintable():
        raise ValueError("a relative path without '..', backslashes or control characters")
    return str(path)


def _inside_or_whole(value: str) -> str:
    return "." if value in {".", "./"} else _inside(value)


def _environment_value(value: str) -> str:
    if "\0" in value:
        raise ValueError("text without a NUL character")
    return value


Size = Annotated[
    int,
    BeforeValidator(
        parse_size,
        json_schema_input_type=Annotated[int, Field(gt=0)] | Annotated[str, Field(pattern=_SIZE_PATTERN)],
    ),
    Field(gt=0),
]
Gpus = Annotated[
    int | Literal["all"] | list[str],
    PlainValidator(
        _gpus,
        json_schema_input_type=Annotated[int, Field(ge=0)]
        | Literal["all"]
        | Annotated[list[Annotated[str, Field(pattern=_GPU_ID_PATTERN)]], Field(min_length=1)],
    ),
]
Seed = Annotated[int, Field(ge=0, lt=_SEED_LIMIT)]
Seeds = Annotated[
    int | list[int],
    PlainValidator(
        _seeds,
        json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_SEEDS)]
        | Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS)],
    ),
]
InsidePath = Annotated[str, AfterValidator(_inside)]
InsidePathOrWhole = Annotated[str, AfterValidator(_inside_or_whole)]
EnvironmentValue = Annotated[str, AfterValidator(_environment_value)]


@dataclass(frozen=True, slots=True)
class Rule:
    """What the keys of one table owe each other: words, a test on the keys that are given, the same as JSON Schema."""

    words: str
    hint: str
    holds: Callable[[AbstractSet[str]], bool]
    schema: dict[str, Any]


def any_of(*keys: str, words: str, hint: str = "") -> Rule:
    """At least one of the keys is given."""
    return Rule(
        words, hint, lambda given: any(key in given for key in keys), {"anyOf": [_required(key) for key in keys]}
    )


def one_of(*keys: str, words: str, hint: str = "") -> Rule:
    """Exactly one of the keys is given."""
    return Rule(
        words, hint, lambda given: sum(key in given for key in keys) == 1, {"oneOf": [_required(key) for key in keys]}
    )


def needs(key: str, *others: str, words: str, hint: str = "") -> Rule:
    """Where the key is given the others are too."""
    return Rule(
        words,
        hint,
        lambda given: key not in given or all(other in given for other in others),
        {"if": _required(key), "then": _required(*others)},
    )


def excludes(key: str, *others: str, words: str, hint: str = "") -> Rule:
    """Where the key is given none of the others is: they would have no effect."""
    return Rule(
        words,
        hint,
        lambda given: key not in given or not any(other in given for other in others),
        {"if": _required(key), "then": {"not": {"anyOf": [_required(other) for other in others]}}},
    )


def _required(*keys: str) -> dict[str, Any]:
    return {"required": list(keys)}


class Placed:
    """Mixin of what is measured on a split, in a stage where the manifest has some."""

    if TYPE_CHECKING:
        split: str
        stage: str | None

    @property
    def place(self) -> str:
        """The split, and the stage in front of it where there is one: "pretrain: test"."""
        return f"{self.stage}: {self.split}" if self.stage else self.split


class Table(BaseModel):
    """Base of every table: unknown keys are errors, values are not coerced, instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What holds between the keys of the table, besides what each key allows."""

    @classmethod
    def broken_rules(cls, given: AbstractSet[str]) -> Iterator[Rule]:
        """Yield the rules that a table with these keys breaks."""
        return (rule for rule in cls.rules if not rule.holds(given))

    @model_validator(mode="after")
    def _hold_the_rules(self) -> Self:
        fields = type(self).model_fields
        given = {fields[key].alias or key for key in self.model_fields_set if getattr(self, key) is not None}
        for rule in self.broken_rules(given):
            raise PydanticCustomError("rule", "{words}", {"words": rule.words})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the rules to the table's JSON Schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.rules:
            schema["allOf"] = [rule.schema for rule in cls.rules]
        return schema
