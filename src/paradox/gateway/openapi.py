"""The OpenAPI page: made from the table of routes and the Structs of their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from paradox.gateway.calls import Route
from paradox.gateway.routes import ROUTES
from paradox.wire.bodies import Problem
from paradox.wire.pack import ARROW, LINES, MEDIA, STREAM, Form

TITLE, DISTRIBUTION = "Paradox", "paradox-memory"


@cache
def document() -> bytes:
    """Return the page as JSON."""
    kinds = list(dict.fromkeys([kind for route in ROUTES for kind in (route.body, route.reply) if kind is not None] + [Problem]))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": TITLE, "version": version(DISTRIBUTION), "description": "A latent memory. Bodies are JSON or MessagePack."},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
            "security": [{"key": []}, {}],
        }
    )


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{route.path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {
            "200": {"description": "done", "content": _content(schema_of[route.reply], STREAM if route.streams else MEDIA)},
            "default": {"description": "what went wrong", "content": {"application/problem+json": {"schema": schema_of[Problem]}}},
        },
    }
    if "{name}" in route.path:
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if route.bulk:
        streams = {ARROW: {"type": "string", "format": "binary"}, LINES: {"type": "string"}}
        operation["requestBody"] = {"required": True, "content": {media: {"schema": schema} for media, schema in streams.items()}}
    if route.arrow is not None:
        operation["responses"]["200"]["content"][ARROW] = {"schema": {"type": "string", "format": "binary"}}
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(schema_of[route.body], MEDIA)}
    return operation


def _content(schema: Any, media: Mapping[Form, str]) -> dict[str, Any]:
    return {name: {"schema": schema} for name in media.values()}
