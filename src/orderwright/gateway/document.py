"""One OpenAPI document of the whole, put together from those of the services.

Invariant: it holds exactly the routes that can be reached here, under the paths that they have here; components of two
services that share a name and differ get a name each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from orderwright.gateway.routes import API, find
from orderwright.kernel.peers import Peers

GATEWAY_ANSWERS = {
    "406": "Only JSON is spoken here",
    "429": "Too many requests",
    "431": "The headers are too large",
    "503": "A part that is needed does not answer",
}
METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})


async def gather(peers: Peers, services: Sequence[str], version: str) -> tuple[dict[str, Any], bool]:
    """(the document, whether every service has answered for its part)."""
    documents: dict[str, dict[str, Any]] = {}
    for service in services:
        try:
            answer = await peers.ask(service, "GET", "/openapi.json", anonymous=True)
        except Exception:  # noqa: S112 - a service that is away is left out, and asked again for the next reader
            continue
        if answer.status == 200:
            documents[service] = answer.json()
    return merge(documents, version), len(documents) == len(services)


def merge(documents: Mapping[str, dict[str, Any]], version: str) -> dict[str, Any]:
    """One document out of the services' own."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    security: dict[str, Any] = {}
    for service, document in documents.items():
        components = document.get("components", {})
        names = _names(service, components.get("schemas", {}), schemas)
        for name, schema in components.get("schemas", {}).items():
            schemas[names[name]] = _renamed(schema, names)
        security.update(components.get("securitySchemes", {}))
        for path, methods in document.get("paths", {}).items():
            route = find(path.replace("{", "").replace("}", ""))
            if route is None or route.service != service:
                continue
            merged = _renamed(methods, names)
            for method, operation in merged.items():
                if method in METHODS:
                    _complete(service, method, operation)
            paths[API + path] = merged
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orderwright",
            "version": version,
            "description": "From cart to delivery. Get a token from `POST /api/v1/login`.",
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": security},
    }


def _names(service: str, own: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, str]:
    """What each of a service's schemas is called in the whole."""
    return {
        name: name if name not in taken or taken[name] == schema else f"{service.capitalize()}{name}"
        for name, schema in own.items()
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _reference(item, names) if key == "$ref" and isinstance(item, str) else _renamed(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def _reference(reference: str, names: Mapping[str, str]) -> str:
    head, _, name = reference.rpartition("/")
    return f"{head}/{names.get(name, name)}"


def _complete(service: str, method: str, operation: dict[str, Any]) -> None:
    if "operationId" in operation:
        operation["operationId"] = f"{service}_{operation['operationId']}_{method}"
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, description in GATEWAY_ANSWERS.items():
        operation["responses"].setdefault(status, {"description": description, "content": problem})
