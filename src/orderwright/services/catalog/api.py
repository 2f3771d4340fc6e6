"""The catalog's HTTP door: browsing for everybody, changes for staff.

Invariant: who changes a product and says which version they saw (`If-Match`) never undoes somebody else's change.
"""

import base64
import binascii
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field, StringConstraints

from orderwright.kernel import money
from orderwright.kernel.auth import Staff
from orderwright.kernel.context import current_traceparent
from orderwright.kernel.errors import BusinessError, Invalid, Malformed, NotFound
from orderwright.kernel.manifest import Kit
from orderwright.kernel.money import AmountText, PositiveAmount
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import (
    Body,
    ExactRoute,
    IdempotencyKey,
    Limit,
    LongText,
    OpaqueId,
    Page,
    ShortText,
    View,
    claim_for,
    once,
)
from orderwright.services.catalog import actions, store
from orderwright.services.catalog.domain import NewProduct, Product

router = APIRouter(route_class=ExactRoute, tags=["products"])

Quantity = Annotated[int, Field(ge=0, le=1_000_000_000)]
Position = Annotated[str | None, Query(max_length=1200, description="`next_cursor` of the page before")]
"""A cursor with room for the longest name: 200 characters of 4 bytes and an id of 64, in base64."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Sku = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]
ImageUrl = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[!-~]+$")]


@dataclass(frozen=True, slots=True)
class CatalogDesk:
    """The tools of the endpoints."""

    kit: Kit


async def _desk(request: Request) -> CatalogDesk:
    desk: CatalogDesk = request.app.state.desk
    return desk


Desk = Annotated[CatalogDesk, Depends(_desk)]


class ProductBody(Body):
    id: OpaqueId | None = None
    name: ShortText
    description: LongText | None = None
    price: PositiveAmount
    currency: Currency | None = None
    quantity: Quantity = 0
    sku: Sku | None = None
    category: ShortText | None = None
    image_url: ImageUrl | None = None


def _left_alone() -> Any:
    """Stands for a member that was not sent; such members are never looked at."""
    return None


class ProductChangeBody(Body):
    """What is not sent stays as it is; null takes away what a product can be without."""

    name: ShortText = Field(default_factory=_left_alone)
    description: LongText | None = None
    price: PositiveAmount = Field(default_factory=_left_alone)
    quantity: Quantity = Field(default_factory=_left_alone)
    sku: Sku | None = None
    category: ShortText | None = None
    image_url: ImageUrl | None = None


class ProductView(View):
    id: str
    name: str
    description: str | None
    price: AmountText
    currency: str
    quantity: int
    sku: str | None
    category: str | None
    image_url: str | None
    version: int
    created_at: datetime
    updated_at: datetime


@router.post("/products", status_code=201, summary="Take a product in (staff)", response_model=ProductView)
async def create_product(
    body: ProductBody, caller: Staff, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    default = desk.kit.platform.currency
    currency = body.currency or default
    new = NewProduct(
        id=body.id or desk.kit.ids.new(),
        name=body.name,
        price=money.exact(body.price, currency),
        currency=currency,
        quantity=body.quantity,
        description=body.description,
        sku=body.sku,
        category=body.category,
        image_url=body.image_url,
    )

    def work(uow: UnitOfWork) -> ProductView:
        [result] = actions.create_products(uow, [new], default)
        if isinstance(result, BusinessError):
            raise result
        created = store.by_id(uow.connection, result)
        assert created is not None
        return _view(created)

    claim = claim_for(request, caller, key)
    response = await once(desk.kit.units, claim, 201, work, traces=_traces(new.id))
    response.headers["ETag"] = '"1"'
    return response


@router.get("/products", summary="Products by name")
async def list_products(
    desk: Desk,
    q: Annotated[str | None, Query(min_length=1, max_length=100, description="In the name or the description")] = None,
    category: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    cursor: Position = None,
) -> Page[ProductView]:
    after = None if cursor is None else _read_cursor(cursor)
    text, wanted = _without_nul(q), _without_nul(category)
    found = await desk.kit.units.read(
        lambda connection: store.listed(connection, text=text, category=wanted, after=after, limit=limit + 1)
    )
    following = _cursor(found[limit - 1]) if len(found) > limit else None
    return Page(items=[_view(product) for product in found[:limit]], next_cursor=following)


@router.get("/products/{product_id}", summary="A product")
async def get_product(product_id: str, desk: Desk, response: Response) -> ProductView:
    product = await desk.kit.units.read(lambda connection: store.by_id(connection, product_id))
    if product is None:
        raise NotFound("There is no such product")
    response.headers["ETag"] = f'"{product.version}"'
    return _view(product)


@router.put(
    "/products/{product_id}",
    summary="Change a product (staff)",
    responses={412: {"description": "It has changed since you saw it"}},
)
async def change_product(
    product_id: str,
    body: ProductChangeBody,
    _: Staff,
    desk: Desk,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=200, description="The ETag that you saw (RFC 9110)")] = None,
) -> ProductView:
    """`quantity` is what was counted, and is told to the inventory; without it stock is left alone."""
    changes = body.model_dump(exclude_unset=True)
    if not changes:
        raise Invalid("Send at least one member to change", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    versions = None if if_match is None or if_match.strip() == "*" else {_version(tag) for tag in if_match.split(",")}
    default = desk.kit.platform.currency
    product = await desk.kit.units.run(
        lambda uow: actions.change_product(uow, product_id, changes, default, versions=versions),
        traces=_traces(product_id),
    )
    response.headers["ETag"] = f'"{product.version}"'
    return _view(product)


@router.delete("/products/{product_id}", status_code=204, summary="Take a product out (staff)")
async def delete_product(product_id: str, _: Staff, desk: Desk) -> None:
    await desk.kit.units.run(lambda uow: actions.delete_product(uow, product_id), traces=_traces(product_id))


def _traces(product_id: str) -> dict[str, str]:
    trace = current_traceparent()
    return {} if trace is None else {product_id: trace}


def _view(product: Product) -> ProductView:
    return ProductView(**asdict(product))


def _version(etag: str) -> int:
    digits = etag.strip().removeprefix("W/").strip('"')
    # An ETag that was never given out matches no version.
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1


def _without_nul(text: str | None) -> str | None:
    if text is not None and "\x00" in text:
        raise Invalid("A parameter contains the character NUL", errors=[{"loc": ["query"], "msg": "contains NUL"}])
    return text


def _cursor(product: Product) -> str:
    return base64.urlsafe_b64encode(f"{product.id}\x1f{product.name}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        product_id, separator, name = base64.urlsafe_b64decode(cursor.encode()).decode().partition("\x1f")
    except (binascii.Error, UnicodeError, ValueError):
        product_id = separator = name = ""
    if not separator or "\x00" in name + product_id:
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    return name, product_id
