"""The reference of the configuration, generated from its schema: every key, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from scripts.command import run
from scripts.files import write_text
from scripts.labels import one_line
from scripts.study.schema import Study

PAGE = Path(__file__).parents[2] / "config" / "README.md"


class Plain(GenerateJsonSchema):
    """A schema for editors, without what pydantic says once more: titles made of the keys and the
    classes' names, the types of listed values, null as an alternative of its own, OpenAPI's
    discriminators, and the defaults of a class that has them.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No key has a title of its own."""
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """A class has its name where it is defined."""
        found = super().model_schema(schema)
        del found["title"]
        return found

    def literal_schema(self, schema: Any) -> dict[str, Any]:
        """The values alone."""
        found = super().literal_schema(schema)
        del found["type"]
        return found

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        """One value or one type more, where there is one."""
        found = super().nullable_schema(schema)
        kind = found["anyOf"][0]
        if "enum" in kind:
            return {"enum": [*kind["enum"], None]}
        if not isinstance(kind.get("type"), str):
            return found
        return kind | {"type": [kind["type"], "null"]}

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """None beside a class, whose keys have theirs."""
        found = super().default_schema(schema)
        return {key: found[key] for key in found if key != "default" or "$ref" not in found}

    def tagged_union_schema(self, schema: Any) -> dict[str, Any]:
        """The kinds alone."""
        return {"oneOf": super().tagged_union_schema(schema)["oneOf"]}


class KeysInLines(yaml.SafeDumper):
    """Writes each key of a class in a line or two; classes stand in blocks."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
        """Keys by name, and what has them, in a block."""
        block = "properties" in mapping or all(isinstance(node, dict) for node in mapping.values())
        return super().represent_mapping(tag, mapping, not block)


def document(output: Path | None = None, schema: Path | None = None) -> None:
    """Write the reference of all keys, and the JSON Schema that editors check files by.

    Args:
        output: Markdown file.
        schema: JSON Schema file, in YAML as Snakemake's are.
    """
    if output is not None:
        write_text(reference(), output)
    if schema is not None:
        keys = json.dumps(Study.model_json_schema(schema_generator=Plain))
        keys = json.loads(keys, object_hook=described_on_one_line)
        style = {"default_flow_style": None, "width": 100, "allow_unicode": True}
        write_text(yaml.dump(keys, Dumper=KeysInLines, **style), schema)


def described_on_one_line(node: dict[str, Any]) -> dict[str, Any]:
    """A node of the schema, or a class's keys, of which one may be named `description`."""
    text = node.get("description")
    return node | {"description": one_line(text)} if isinstance(text, str) else node


def reference() -> str:
    """The page as it stands down to its tables, then one section with a table of keys for each
    settings class."""
    schema = Study.model_json_schema()
    text = json.dumps(schema)
    for name, node in schema["$defs"].items():
        if "properties" not in node:
            text = text.replace(f'"$ref": "#/$defs/{name}"', json.dumps(node)[1:-1])
    schema = json.loads(text)
    return PAGE.read_text(encoding="utf-8").partition("\n### <a id=")[0] + "".join(
        f'\n### <a id="{name.lower()}"></a>{title}\n\n{one_line(node["description"])}\n\n'
        + table(node)
        for name, title, node in sections(schema)
    )


def sections(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, heading and schema of every class, each once, a class before those in its keys."""
    seen = set()

    def below(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for key, entry in node["properties"].items():
            for name, suffix in references(entry):
                if name in seen:
                    continue
                seen.add(name)
                target = schema["$defs"][name]
                heading = f"`{path}{key}{suffix}`"
                if "kind" in target["properties"]:
                    heading += f" of kind {kind_of(target['properties']['kind'])}"
                yield name, heading, target
                yield from below(target, f"{path}{key}{suffix}.")

    yield "Study", "The top level", schema
    yield from below(schema, "")


def references(node: dict[str, Any], suffix: str = "") -> list[tuple[str, str]]:
    """The classes that a key's values may be, each with what leads from the key to it."""
    if "$ref" in node:
        return [(class_name(node["$ref"]), suffix)]
    found = []
    for option in node.get("anyOf", node.get("oneOf", [])):
        found += references(option, suffix)
    if isinstance(values := node.get("additionalProperties"), dict):
        found += references(values, f"{suffix}.<name>")
    if "items" in node:
        found += references(node["items"], f"{suffix}[]")
    return found


def table(node: dict[str, Any]) -> str:
    """Markdown table of the keys of a class."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, entry in node["properties"].items():
        cells = [f"`{key}`", kind_of(entry), default_of(node, key), meaning_of(key, entry)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def kind_of(node: dict[str, Any]) -> str:
    """The values that a key may have, in words."""
    if "$ref" in node:
        name = class_name(node["$ref"])
        return f"[{name}](#{name.lower()})"
    if options := node.get("anyOf", node.get("oneOf")):
        return " or ".join(kind_of(option) for option in options)
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {kind_of(node['items'])}"
    if node["type"] == "object":
        return f"mapping: name → {kind_of(node['additionalProperties'])}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {node[bound]:g}" for bound, sign in bounds.items() if bound in node]
    pattern = [f"like `{node['pattern']}`"] if "pattern" in node else []
    return " ".join([node["type"], ", ".join(limits), *pattern]).strip().replace("  ", " ")


def default_of(node: dict[str, Any], key: str) -> str:
    """The default of a key, or that it must be given."""
    if key in node.get("required", []):
        return "required"
    entry = node["properties"][key]
    if "$ref" in entry:
        return "its defaults"
    return f"`{json.dumps(entry['default'])}`"


def meaning_of(key: str, entry: dict[str, Any]) -> str:
    """What a key means."""
    return "Tells the kinds apart." if key == "kind" else one_line(entry["description"])


def class_name(reference: str) -> str:
    """Name of the class that a JSON Schema reference points to."""
    return reference.rsplit("/", 1)[-1]


if __name__ == "__main__":
    run(document)
