"""The reference of the configuration, generated from its schema: every key, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.command import run
from scripts.files import write_text
from scripts.labels import one_line
from scripts.study.schema import Study

PAGE = Path(__file__).parents[2] / "config" / "README.md"


def document(output: Path | None = None, schema: Path | None = None) -> None:
    """Write the reference of all keys, and the JSON Schema that editors check files by.

    Args:
        output: Markdown file.
        schema: JSON Schema file; `make install` writes it where the shipped studies look for it.
    """
    if output is not None:
        write_text(reference(), output)
    if schema is not None:
        write_text(json.dumps(Study.model_json_schema()), schema)


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
    """Markdown table of the keys of a class but its `kind`, which is in the heading."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, entry in node["properties"].items():
        if key != "kind":
            meaning = one_line(entry["description"])
            cells = [f"`{key}`", kind_of(entry), default_of(node, key), meaning]
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
    default = entry["default"]
    if isinstance(default, dict):  # Entries by name; what they leave out is not shown.
        left_out = [None, False]
        default = {
            name: {k: v for k, v in one.items() if not any(v is no for no in left_out)}
            for name, one in default.items()
        }
    return f"`{json.dumps(default)}`"


def class_name(reference: str) -> str:
    """Name of the class that a JSON Schema reference points to."""
    return reference.rsplit("/", 1)[-1]


if __name__ == "__main__":
    run(document)
