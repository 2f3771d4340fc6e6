"""One OpenAPI document of the whole: what is in it, and that everything keeps its meaning."""

import asyncio
from typing import Any

import jsonschema_rs
import pytest
from fastapi import APIRouter, Depends, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, create_model

from orderwright.cli.reference import assembled
from orderwright.gateway.document import PARTIAL_FOR_S, WHOLE_FOR_S, merge
from orderwright.gateway.routes import ROUTES, SERVICES, find
from orderwright.kernel.web import create_app
from tests.gateway.bench import GatewayBench

Document = dict[str, Any]


def document_of(service: str, paths: dict[str, type[BaseModel]], *, private: bool = True) -> Document:
    """What a service says of itself that has these paths, with POST, each with a body of that type."""
    router = APIRouter()
    for path, kind in paths.items():

        async def answer(body: Any) -> Any:
            return body

        answer.__annotations__ = {"body": kind, "return": kind}
        router.add_api_route(path, answer, methods=["POST"], dependencies=[Depends(HTTPBearer())] if private else [])
    return create_app(service, "", routers=[router], version="1").openapi()


def everything() -> dict[str, Document]:
    """What the real services say of themselves."""
    with assembled() as services:
        return {
            name: create_app(name, "", routers=service.routers, version="1").openapi()
            for name, service in services.items()
        }


def references(value: Any) -> set[str]:
    """Every local reference in a document."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(references(item) for item in value))
    return set()


def assert_sound(document: Document) -> None:
    """Every reference leads somewhere, ids are unique, and parameters are those of the path."""
    for reference in references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    for path, item in document["paths"].items():
        for operation in item.values():
            declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert declared == {part.partition("}")[0] for part in path.split("{")[1:]}, path
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})


async def test_the_document_of_the_real_services_is_sound_and_holds_exactly_what_is_exposed() -> None:
    document = merge(everything(), "1.2.3")
    assert_sound(document)
    assert document["info"]["version"] == "1.2.3"
    assert document["servers"] == [{"url": "/"}]
    found = {find(path.removeprefix("/api/v1").replace("{", "").replace("}", "")) for path in document["paths"]}
    assert found == set(ROUTES)
    assert {tag["name"] for tag in document["tags"]} == {
        tag for item in document["paths"].values() for operation in item.values() for tag in operation["tags"]
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert {"406", "429", "431", "503"} <= set(operation["responses"]), (method, path)
            route = find(path.removeprefix("/api/v1").replace("{", "").replace("}", ""))
            assert route is not None
            assert ("401" in operation["responses"]) or method.upper() in route.public, (method, path)
            assert "Retry-After" in operation["responses"]["429"]["headers"]


def test_what_is_not_exposed_is_not_in_it() -> None:
    kind = create_model("Thing", a=(int, ...))
    parts = {
        "order": document_of("order", {"/orders": kind, "/contacts": kind, "/payments": kind, "/health": kind}),
        "inventory": document_of("inventory", {"/products": kind, "/stock": kind}),
    }
    assert list(merge(parts, "1")["paths"]) == ["/api/v1/orders", "/api/v1/stock"]


def test_the_same_schema_of_two_services_is_there_once() -> None:
    kind = create_model("Thing", a=(int, ...))
    document = merge(
        {"order": document_of("order", {"/orders": kind}), "cart": document_of("cart", {"/carts/{x}": kind})}, "1"
    )
    assert [name for name in document["components"]["schemas"] if "Thing" in name] == ["Thing"]


def test_different_schemas_of_one_name_are_told_apart_also_through_what_they_refer_to() -> None:
    def page(of: type) -> type[BaseModel]:
        line = create_model("Row", a=(of, ...))
        return create_model("Page", lines=(list[line], ...))

    parts = {
        "order": document_of("order", {"/orders": page(int)}),
        "payment": document_of("payment", {"/payments": page(str)}),
        "shipping": document_of("shipping", {"/shipments": page(int)}),
    }
    document = merge(parts, "1")
    assert_sound(document)
    types = {"/api/v1/orders": "integer", "/api/v1/payments": "string", "/api/v1/shipments": "integer"}
    for path, meant in types.items():
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        line = resolved(document, resolved(document, body)["properties"]["lines"]["items"])
        assert line["properties"]["a"]["type"] == meant, path
    assert {name for name in document["components"]["schemas"] if name.endswith(("Page", "Row"))} == {
        "Row",
        "Page",
        "PaymentRow",
        "PaymentPage",
    }


def resolved(document: Document, schema: Document) -> Document:
    found: Document = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_a_new_name_is_never_one_that_is_in_use() -> None:
    one, other = create_model("Thing", a=(int, ...)), create_model("Thing", b=(int, ...))
    taken = create_model("IdentityThing", c=(int, ...))
    parts = {
        "order": document_of("order", {"/orders": one}),
        "identity": document_of("identity", {"/me": other, "/users": taken}),
    }
    document = merge(parts, "1")
    assert_sound(document)
    schemas = document["components"]["schemas"]
    assert [list(schemas[name]["properties"]) for name in ("Thing", "IdentityThing", "IdentityThing_")] == [
        ["a"],
        ["c"],
        ["b"],
    ]


def test_discriminators_follow_a_new_name() -> None:
    def part(of: str) -> Document:
        ref = {"$ref": "#/components/schemas/Card"}
        union = {"oneOf": [ref], "discriminator": {"propertyName": "t", "mapping": {"card": ref["$ref"]}}}
        return {"paths": {}, "components": {"schemas": {"Card": {"type": of}, f"Method{of}": union}}}

    schemas = merge({"order": part("object"), "payment": part("string")}, "1")["components"]["schemas"]
    assert schemas["Methodstring"]["discriminator"]["mapping"] == {"card": "#/components/schemas/PaymentCard"}
    assert schemas["Methodobject"]["discriminator"]["mapping"] == {"card": "#/components/schemas/Card"}


def serving(bench: GatewayBench, services: tuple[str, ...] = SERVICES) -> None:
    """Have services tell what they have, and the others nothing."""
    kind = create_model("Thing", a=(int, ...))
    for service in SERVICES:
        path = next(route.template for route in ROUTES if route.service == service)
        answer = {"paths": {}} if service not in services else document_of(service, {path: kind}, private=False)

        async def say(document: Document = answer) -> Document:
            return document

        async def away() -> Response:
            return Response("{}", 404)

        routes = bench.services[service].app.router.routes
        routes[:] = [route for route in routes if getattr(route, "path", "") != "/openapi.json"]
        bench.services[service].app.add_api_route("/openapi.json", say if service in services else away)
        routes.insert(0, routes.pop())


@pytest.mark.parametrize("path", ["/openapi.json", "/api/v1/openapi.json"])
async def test_it_is_public_at_both_addresses(path: str) -> None:
    bench = GatewayBench()
    serving(bench)
    got = await bench.call("GET", path, caller=None)
    assert (got.status, got.header("content-type")) == (200, "application/json")
    assert len(got.json["paths"]) == len(SERVICES)


async def test_it_is_put_together_again_soon_while_somebody_is_missing_and_seldom_after_that() -> None:
    bench = GatewayBench()

    async def number_of_paths() -> int:
        return len((await bench.call("GET", "/openapi.json", caller=None)).json["paths"])

    serving(bench, SERVICES[:-1])
    answers = await asyncio.gather(*(number_of_paths() for _ in range(10)))
    assert answers == [len(SERVICES) - 1] * 10
    serving(bench)
    assert await number_of_paths() == len(SERVICES) - 1
    bench.clock.advance(PARTIAL_FOR_S)
    assert await number_of_paths() == len(SERVICES)
    serving(bench, ())
    bench.clock.advance(PARTIAL_FOR_S)
    assert await number_of_paths() == len(SERVICES)
    bench.clock.advance(WHOLE_FOR_S)
    assert await number_of_paths() == 0
