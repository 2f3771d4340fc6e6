"""The HTTP door of a service: a FastAPI application with the platform's rules built in.

Invariants: JSON is read exactly and strictly (see `exactjson`), unknown fields are refused, and every error is a
problem document. An endpoint translates and calls one action; it holds no rule.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.requests import ClientDisconnect

from orderwright.kernel import exactjson, idempotency, openapi
from orderwright.kernel.auth import Caller
from orderwright.kernel.batching import Done, Intake
from orderwright.kernel.docpage import add_doc_page
from orderwright.kernel.errors import BusinessError, Invalid, Malformed, UnsupportedMedia
from orderwright.kernel.idempotency import Answer, Claim, Fresh, Resume
from orderwright.kernel.problems import MEDIA_TYPE, add_problem_handlers, of_business_error
from orderwright.kernel.unit import UnitOfWork, Units

OPAQUE_ID_PATTERN = r"^[!-.0-~]{1,64}$"
"""Printable ASCII without the slash, so that an id can stand in a path."""

OpaqueId = Annotated[str, StringConstraints(pattern=OPAQUE_ID_PATTERN)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LongText = Annotated[str, StringConstraints(max_length=10_000)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="Makes a repetition of this request harmless for 30 days",
    ),
]

T = TypeVar("T")
V = TypeVar("V", bound=BaseModel)


class Body(BaseModel):
    """The base of every request body: unknown fields are refused and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class View(BaseModel):
    """The base of every answer."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None


class _ExactRequest(Request):
    parsed: Any = None

    async def json(self) -> Any:
        return self.parsed


class ExactRoute(APIRoute):
    """A route that reads its JSON with `exactjson`; routers of services are made with `route_class=ExactRoute`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        field = self.body_field

        async def handler(request: Request) -> Response:
            if field is None:
                return await answer(request)
            exact = _ExactRequest(request.scope, request.receive)
            exact.parsed = await _read(exact, required=field.field_info.is_required())
            return await answer(exact)

        return handler


async def _read(request: Request, *, required: bool) -> Any:
    body = await whole_body(request)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMedia("Send the body as it is: no content encoding is read here")
    if not body and not required:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise UnsupportedMedia("Send the body as application/json")
    value = exactjson.loads(body)
    where = exactjson.find_nul(value)
    if where is not None:
        raise Invalid("A text contains the character NUL", errors=[{"loc": ["body", *where], "msg": "contains NUL"}])
    return value


async def whole_body(request: Request) -> bytes:
    """All of a request's body. Malformed when its client went away before all of it had come."""
    try:
        return await request.body()
    except ClientDisconnect:
        # Nobody is left to read this. It keeps a client's end from being logged as a fault of ours.
        raise Malformed("The connection broke off before all of the body had come") from None


def claim_for(request: Request, caller: Caller, key: str | None) -> Claim | None:
    """The caller's claim to have this request done once; None when they sent no key."""
    if key is None:
        return None
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise Malformed("Send one Idempotency-Key", problem="idempotency-key-invalid")
    body = getattr(request, "parsed", None)
    return Claim(caller.id, key, idempotency.fingerprint(request.method, request.url.path, body))


def json_answer(status: int, view: BaseModel) -> Answer:
    """`view` as an answer that can be stored and sent."""
    return Answer(status, view.model_dump_json().encode())


def problem_answer(error: BusinessError) -> Answer:
    """A refusal as an answer that can be stored and sent; for refusals that come after the work was committed."""
    response = of_business_error(error)
    return Answer(error.status, bytes(response.body), MEDIA_TYPE)


def respond(answer: Answer, *, replayed: bool = False) -> Response:
    """A stored or fresh answer as a response."""
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(answer.body, answer.status, headers, answer.media_type)


async def once(
    units: Units, claim: Claim | None, status: int, work: Callable[[UnitOfWork], BaseModel], *, traces: Any = None
) -> Response:
    """Do `work` and answer with what it returns; with a claim, once for all repetitions, in one transaction."""

    def transact(uow: UnitOfWork) -> tuple[Answer, bool]:
        if claim is not None:
            [verdict] = idempotency.claim(uow, [claim])
            match verdict:
                case Answer():
                    return verdict, True
                case Fresh() | Resume():
                    pass
                case _:
                    raise verdict
        answer = json_answer(status, work(uow))
        if claim is not None:
            idempotency.store(uow.connection, [(claim, answer)])
        return answer, False

    answer, replayed = await units.run(transact, traces=traces)
    return respond(answer, replayed=replayed)


async def finish(
    intake: Intake[Any, T],
    claim: Claim | None,
    outcome: Done[T] | Answer,
    answer_for: Callable[[T], Awaitable[Answer]],
) -> Response:
    """Turn the outcome of an `Intake` into a response, and store it for repetitions."""
    if isinstance(outcome, Answer):
        return respond(outcome, replayed=True)
    answer = await answer_for(outcome.result)
    if claim is not None:
        answer = await intake.store(claim, answer)
    return respond(answer)


def joined(*parts: APIRouter) -> APIRouter:
    """A router with the routes of all these, in their order.

    Not `include_router`: FastAPI then looks for the route of a request twice for each level of routers in routers.
    """
    whole = APIRouter()
    for part in parts:
        whole.routes.extend(part.routes)
    return whole


def create_app(title: str, description: str, *, routers: Sequence[APIRouter], version: str) -> FastAPI:
    """A FastAPI application with the platform's error answers and documents."""
    app = FastAPI(
        title=title, description=description, version=version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    add_doc_page(app, title)
    add_problem_handlers(app, lambda path: openapi.methods_of(app, path))
    app.router.routes.extend(joined(*routers).routes)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app
