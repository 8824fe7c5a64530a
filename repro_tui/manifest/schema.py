"""JSON Schema of a manifest (draft 2020-12), for editors: what the models say, as far as a schema can say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from repro_tui.manifest import tasks
from repro_tui.manifest.models import Manifest

SHIPPED = Path(__file__).with_name("manifest.schema.json")
"""The same schema as a file of the package."""


class _Generator(GenerateJsonSchema):
    """Leaves out null, which TOML does not have, and titles, which only repeat the keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default") is None or isinstance(described["default"], dict):
            described.pop("default", None)  # none, or a whole table, whose keys have theirs
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base class calls it so
        return False


def manifest_schema() -> dict[str, Any]:
    """Return the schema; hyperparameters are those of the built-in task where `task.name` names one."""
    schema = Manifest.model_json_schema(by_alias=True, schema_generator=_Generator)
    definitions = schema["$defs"]
    rules = schema.setdefault("allOf", [])
    of_a_stage = definitions["Stage"].setdefault("allOf", [])
    for task in tasks.builtin_names():
        model = tasks.find(task).hyperparameters
        definition = model.model_json_schema(schema_generator=_Generator)
        definitions.update(definition.pop("$defs", {}))
        definitions[model.__name__] = definition
        named = {"properties": {"task": {"properties": {"name": {"const": task}}, "required": ["name"]}}}
        rule = {
            "if": {**named, "required": ["task"]},
            "then": {"properties": {"hyperparameters": {"$ref": f"#/$defs/{model.__name__}"}}},
        }
        rules.append(rule)
        of_a_stage.append(rule)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "repro-tui manifest",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the schema as the text that is shipped and printed."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"
