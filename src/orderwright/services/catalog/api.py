"""The catalog's HTTP door: browsing for everybody, changes for staff."""

import base64
import binascii
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field, StringConstraints

from orderwright.kernel import money
from orderwright.kernel.auth import Staff
from orderwright.kernel.errors import BusinessError, Invalid, Malformed, NotFound
from orderwright.kernel.manifest import Kit
from orderwright.kernel.money import AmountText, PositiveAmount
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import (
    Body,
    Cursor,
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
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
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
    category: ShortText | None = None
    image_url: ImageUrl | None = None


class ProductChangeBody(Body):
    name: ShortText | None = None
    description: LongText | None = None
    price: PositiveAmount | None = None
    quantity: Quantity | None = None
    category: ShortText | None = None
    image_url: ImageUrl | None = None


class ProductView(View):
    id: str
    name: str
    description: str | None
    price: AmountText
    currency: str
    quantity: int
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

    return await once(desk.kit.units, claim_for(request, caller, key), 201, work)


@router.get("/products", summary="Products by name")
async def list_products(
    desk: Desk,
    q: Annotated[str | None, Query(min_length=1, max_length=100, description="In the name or the description")] = None,
    category: Annotated[str | None, Query(max_length=100)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
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
    if_match: Annotated[str | None, Header(max_length=40, description="The ETag that you saw (RFC 9110)")] = None,
) -> ProductView:
    """`quantity` is what was counted, and is told to the inventory; without it stock is left alone."""
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise Invalid("Send at least one member to change", errors=[{"loc": ["body"], "msg": "nothing to change"}])
    version = None if if_match is None or if_match.strip() == "*" else _version(if_match)
    default = desk.kit.platform.currency
    product = await desk.kit.units.run(
        lambda uow: actions.change_product(uow, product_id, changes, default, version=version)
    )
    response.headers["ETag"] = f'"{product.version}"'
    return _view(product)


@router.delete("/products/{product_id}", status_code=204, summary="Take a product out (staff)")
async def delete_product(product_id: str, _: Staff, desk: Desk) -> None:
    await desk.kit.units.run(lambda uow: actions.delete_product(uow, product_id))


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
        separator = ""
    if not separator or "\x00" in name:
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    return name, product_id
