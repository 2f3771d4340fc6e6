"""One OpenAPI document of the whole, put together from those of the services.

Invariants: it holds exactly the routes that can be reached here, under the paths that they have here. A schema keeps
its meaning: where two services mean different things by a name, also through what they refer to, each gets its own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orderwright.gateway.routes import API, SERVICES, Route, exposed
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BusinessError
from orderwright.kernel.peers import Peers
from orderwright.kernel.problems import MEDIA_TYPE, Problem

METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options", "trace"})
SCHEMAS = "#/components/schemas/"
WHOLE_FOR_S = 300.0
PARTIAL_FOR_S = 5.0

_SECONDS = {"description": "Seconds after which to try again", "schema": {"type": "integer", "minimum": 0}}
_QUOTA = {"description": "draft-ietf-httpapi-ratelimit-headers", "schema": {"type": "string"}}
GATEWAY_ANSWERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "406": ("Only JSON is spoken here", {}),
    "429": ("Too many requests", {"Retry-After": _SECONDS, "RateLimit": _QUOTA, "RateLimit-Policy": _QUOTA}),
    "431": ("The headers are too large", {}),
    "503": ("A part that is needed does not answer", {"Retry-After": _SECONDS}),
}
WITHOUT_TOKEN = "No valid access token"  # noqa: S105 - says what is missing

Document = dict[str, Any]


class WholeDocument:
    """Keeps the document, encoded: for minutes when all services had their part, else for moments."""

    def __init__(self, peers: Peers, version: str, clock: Clock) -> None:
        self._peers = peers
        self._version = version
        self._clock = clock
        self._gathering = asyncio.Lock()
        self._encoded = b""
        self._good_until_s = float("-inf")

    async def encoded(self) -> bytes:
        """The document as JSON; services that are away are not in it."""
        async with self._gathering:
            if self._clock.monotonic_s() >= self._good_until_s:
                found = await asyncio.gather(*(self._of(service) for service in SERVICES))
                parts = {service: part for service, part in zip(SERVICES, found, strict=True) if part is not None}
                self._encoded = msgspec.json.encode(merge(parts, self._version))
                kept_s = WHOLE_FOR_S if len(parts) == len(SERVICES) else PARTIAL_FOR_S
                self._good_until_s = self._clock.monotonic_s() + kept_s
        return self._encoded

    async def _of(self, service: str) -> Document | None:
        try:
            answer = await self._peers.ask(service, "GET", "/openapi.json", anonymous=True)
            part = answer.json() if answer.status == 200 else None
        except (BusinessError, msgspec.DecodeError):
            return None
        return part if isinstance(part, dict) else None


def merge(parts: Mapping[str, Document], version: str) -> Document:
    """One document out of the services' own."""
    schemas = _problem_schemas()
    paths: dict[str, Any] = {}
    security: dict[str, Any] = {}
    for service, part in parts.items():
        components = part.get("components", {})
        names = _names(service, components.get("schemas", {}), schemas)
        for name, schema in components.get("schemas", {}).items():
            schemas[names[name]] = _renamed(schema, names)
        security |= components.get("securitySchemes", {})
        for path, item in part.get("paths", {}).items():
            route = exposed(service, path)
            if route is not None:
                paths[API + route.outside(path)] = whole = _renamed(item, names)
                _complete(route, whole)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orderwright",
            "version": version,
            "description": "From cart to delivery. Get a token from `POST /api/v1/login`.",
        },
        "servers": [{"url": "/"}],
        "tags": _tags(parts, paths),
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": security},
    }


def _problem_schemas() -> Document:
    schema = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
    return {**schema.pop("$defs", {}), "Problem": schema}


def _names(service: str, own: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, str]:
    """What each of a service's schemas is called in the whole.

    A new name makes those that refer to it different from their namesakes, so this goes on until nothing changes.
    """
    names = {name: name for name in own}
    changed = True
    while changed:
        changed = False
        for name, schema in own.items():
            if names[name] == name and name in taken and _renamed(schema, names) != taken[name]:
                names[name] = _free_name(f"{service.capitalize()}{name}", {*own, *taken, *names.values()})
                changed = True
    return names


def _free_name(wish: str, taken: set[str]) -> str:
    while wish in taken:
        wish += "_"
    return wish


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with every reference to a schema, also those of discriminators, in terms of its new name."""
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, str) and value.startswith(SCHEMAS):
        name = value.removeprefix(SCHEMAS)
        return SCHEMAS + names.get(name, name)
    return value


def _complete(route: Route, item: Document) -> None:
    """Add what the gateway answers by itself, and make what must be unique so."""
    for method, operation in item.items():
        if method not in METHODS:
            continue
        if "operationId" in operation:
            operation["operationId"] = f"{route.service}_{operation['operationId']}"
        operation.setdefault("tags", [route.service])
        answers = operation.setdefault("responses", {})
        for status, (description, headers) in GATEWAY_ANSWERS.items():
            _add_answer(answers, status, description, headers)
        if method.upper() not in route.public:
            _add_answer(answers, "401", WITHOUT_TOKEN, {})


def _add_answer(answers: Document, status: str, description: str, headers: Mapping[str, Any]) -> None:
    answer = answers.setdefault(status, {"description": description})
    answer.setdefault("content", {}).setdefault(MEDIA_TYPE, {"schema": {"$ref": SCHEMAS + "Problem"}})
    if headers:
        answer["headers"] = {**headers, **answer.get("headers", {})}


def _tags(parts: Mapping[str, Document], paths: Mapping[str, Any]) -> Sequence[Document]:
    """Every tag in use, as its service describes it, by name."""
    described = {tag["name"]: tag for part in parts.values() for tag in part.get("tags", ())}
    used = {
        tag
        for item in paths.values()
        for method, operation in item.items()
        if method in METHODS
        for tag in operation["tags"]
    }
    return [described.get(tag, {"name": tag}) for tag in sorted(used)]
