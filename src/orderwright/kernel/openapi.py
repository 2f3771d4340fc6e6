"""The OpenAPI document of a service: what FastAPI derives, with the problem answers that every route can give.

Invariant: an answer that a route can give is in the document; the generated tests of the whole API rely on it.
"""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orderwright.kernel.problems import MEDIA_TYPE, Problem

ALWAYS = {429: "Too many requests", 503: "A part that is needed does not answer"}
WITH_TOKEN = {401: "No valid access token", 403: "Not allowed for this caller"}
WITH_PATH = {404: "There is no such thing here"}
WITH_BODY = {
    400: "Malformed, or refused",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The content breaks a rule",
}
WITH_QUERY = {422: "A parameter breaks a rule"}
WITH_CURSOR = {400: "The cursor is not one that was given out"}
WITH_EFFECT = {409: "The current state does not allow this"}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`, made once and kept."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                _add_problems(path, method, operation)
        app.openapi_schema = schema
    return app.openapi_schema


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Every method that `path` has, for the Allow header (RFC 9110, section 10.2.1)."""
    for template, methods in document(app)["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            return sorted(method.upper() for method in methods)
    return []


def _add_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    possible = dict(ALWAYS)
    if operation.get("security"):
        possible |= WITH_TOKEN
    if "{" in path:
        possible |= WITH_PATH
    if operation.get("parameters"):
        possible |= WITH_QUERY
    if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ())):
        possible |= WITH_CURSOR
    if method != "get":
        possible |= WITH_EFFECT
    if "requestBody" in operation:
        possible |= WITH_BODY
    answers = operation.setdefault("responses", {})
    generated = answers.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if generated.get("$ref", "").endswith("/HTTPValidationError"):
        del answers["422"]
    for status, description in sorted(possible.items()):
        answer = answers.setdefault(str(status), {"description": description})
        answer.setdefault("content", {}).setdefault(MEDIA_TYPE, {"schema": {"$ref": "#/components/schemas/Problem"}})
