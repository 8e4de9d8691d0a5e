#!/usr/bin/env python3
"""Writes docs/api.md from the OpenAPI document that `resflow serve` gives at /openapi.json:

    curl -s http://127.0.0.1:8188/openapi.json | tools/api_page.py > docs/api.md
"""

import json
import sys

HEAD = """# The server's API, route by route

Drawn from the server's own OpenAPI document (`GET /openapi.json`), so it is what the server does; a test compares. How to use it: [the server](server.md).
An option's range and meaning: [options](options.md).
"""


def name_of(reference):
    return reference.rsplit("/", 1)[1]


def shape(schema):
    """A schema in a few words, with links to the ones that have a name."""
    if "$ref" in schema:
        name = name_of(schema["$ref"])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(shape(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        return "array of " + shape(schema.get("items", {}))
    if kind == "object" and schema.get("properties"):
        return "object of " + ", ".join(f"`{name}`" for name in schema["properties"])
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        kind += f" from {low}" if high is None else f" up to {high}" if low is None else f", {low} to {high}"
    if "contentMediaType" in schema:
        return "a file"
    return kind


def row(*cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(head, rows):
    return [row(*head), row(*["---"] * len(head)), *rows, ""] if rows else []


def property_rows(schema):
    required = set(schema.get("required", []))
    return [row(f"`{name}`", shape(value), "yes" if name in required else "", value.get("description", ""))
            for name, value in schema.get("properties", {}).items()]


def contents(content):
    return ", ".join(f"`{kind}`" + (f": {shape(body['schema'])}" if body.get("schema") else "") for kind, body in content.items())


def operation(method, path, spec):
    lines = [f"### `{method.upper()} {path}`", "", spec["summary"] + "." + (" No key is needed." if spec.get("security") == [{}] else ""), ""]
    parameters = [row(f"`{p['name']}`", p["in"], shape(p.get("schema", {})), p.get("description", "")) for p in spec.get("parameters", [])]
    lines += table(("parameter", "in", "", ""), parameters)
    for kind, body in spec.get("requestBody", {}).get("content", {}).items():
        schema = body.get("schema", {})
        lines += [f"Body, `{kind}`" + ("" if schema.get("properties") else f": {shape(schema)}") + ":" * bool(schema.get("properties")), ""]
        lines += table(("field", "", "required", ""), property_rows(schema))
    replies = [row(f"`{code}`" if code != "default" else "any other", reply["description"], contents(reply.get("content", {})))
               for code, reply in spec["responses"].items()]
    return lines + table(("reply", "", "body"), replies)


def page(document):
    lines = [HEAD]
    tags = {}
    for path, methods in document["paths"].items():
        for method, spec in methods.items():
            tags.setdefault(spec["tags"][0], []).append((method, path, spec))
    for tag, operations in tags.items():
        lines += [f"## {tag}", ""]
        for each in operations:
            lines += operation(*each)
    lines += ["## Schemas", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", ""] + table(("field", "", "always there", ""), property_rows(schema))
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(json.load(sys.stdin)))
