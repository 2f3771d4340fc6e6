"""Problem documents (RFC 9457): how every error looks to a caller.

Invariant: an answer says what was wrong and where, and never repeats what was sent, because that may be a card number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from orderwright.kernel.errors import BusinessError, DatabaseUnavailable, Unavailable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "https://orderwright.dev/problems/"


class FieldError(BaseModel):
    """One rule that a request breaks."""

    loc: list[str | int]
    msg: str


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


def problem_response(
    status: int,
    problem: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as an answer."""
    document: dict[str, Any] = {"type": TYPE_BASE + problem, "title": title, "status": status, "detail": detail}
    if errors:
        document["errors"] = list(errors)
    document.update(extra or {})
    return Response(msgspec.json.encode(document), status, headers, MEDIA_TYPE)


def of_business_error(error: BusinessError) -> Response:
    """The answer that a business error asks for."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    elif error.status in {429, 503}:
        headers["Retry-After"] = "1"
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return problem_response(
        error.status,
        error.problem_type,
        error.problem_title,
        error.detail,
        errors=error.errors,
        extra=error.extra,
        headers=headers,
    )


def of_unforeseen_error() -> Response:
    """The answer to what should not have happened; it tells nothing of the inside."""
    return problem_response(500, "internal-error", "Something went wrong here", "The fault is ours and was noted")


Allowed = Callable[[str], Sequence[str]]
"""The methods that a path has."""


def add_problem_handlers(app: FastAPI, allowed: Allowed | None = None) -> None:
    """Have `app` answer every error with a problem document; with `allowed`, 405 names every method of the path."""

    async def on_business_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, BusinessError)
        return of_business_error(error)

    async def on_database_away(_request: Request, error: Exception) -> Response:
        log.warning("database_unavailable", reason=str(error))
        return of_business_error(Unavailable("The service's database does not answer; try again shortly"))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405 and allowed is not None and (methods := allowed(request.url.path)):
            headers["Allow"] = ", ".join(methods)
        return _of_http_exception(error, headers)

    async def on_unforeseen_error(_request: Request, _error: Exception) -> Response:
        # Without this the framework answers in plain text. It passes the error on to the edge, which logs it.
        return of_unforeseen_error()

    app.add_exception_handler(Exception, on_unforeseen_error)
    app.add_exception_handler(BusinessError, on_business_error)
    app.add_exception_handler(DatabaseUnavailable, on_database_away)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, on_http_exception)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # `input` and `ctx` are left out: they repeat what was sent.
    errors = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
    kinds = {item["type"] for item in error.errors()}
    problem = "unknown-field" if kinds == {"extra_forbidden"} else "validation-error"
    where = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors()[:3])
    return problem_response(422, problem, "The content breaks a rule", f"Look at: {where}", errors=errors)


def _of_http_exception(error: HTTPException, headers: Mapping[str, str]) -> Response:
    names = {404: "not-found", 405: "method-not-allowed"}
    title = {404: "There is no such thing here", 405: "This method is not for this address"}
    return problem_response(
        error.status_code,
        names.get(error.status_code, "http-error"),
        title.get(error.status_code, str(error.detail)),
        str(error.detail),
        headers=headers,
    )
