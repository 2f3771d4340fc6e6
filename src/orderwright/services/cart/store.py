"""The cart service's SQL."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.idempotency import Claim
from orderwright.kernel.rows import insert_ignoring, insert_updating, one_of
from orderwright.kernel.tables import idempotency_keys
from orderwright.services.cart.domain import Cart, CartLine, Product
from orderwright.services.cart.tables import cart_items, carts, products

_MEMBERS = tuple(field.name for field in fields(Product))
_OPEN = sa.select(carts).where(carts.c.open_for == sa.bindparam("user_id"))
_OPEN_LOCKED = _OPEN.with_for_update()
_LINES = (
    sa.select(cart_items.c.product_id, cart_items.c.quantity, products.c.name, products.c.price, products.c.currency)
    .join(products, products.c.product_id == cart_items.c.product_id)
    .where(cart_items.c.cart_id == sa.bindparam("cart_id"))
    .order_by(cart_items.c.added_at, cart_items.c.product_id)
)


def open_cart(connection: sa.Connection, user_id: str, *, lock: bool = False) -> Cart | None:
    """Somebody's open cart."""
    row = connection.execute(_OPEN_LOCKED if lock else _OPEN, {"user_id": user_id}).one_or_none()
    if row is None:
        return None
    lines = connection.execute(_LINES, {"cart_id": row.id})
    return Cart(
        row.id,
        row.user_id,
        row.updated_at,
        tuple(CartLine(line.product_id, line.name, line.quantity, line.price, line.currency) for line in lines),
    )


def ensure_open_cart(connection: sa.Connection, cart_id: str, user_id: str, now: datetime) -> None:
    """Open a cart for somebody who has none open."""
    row = {"id": cart_id, "user_id": user_id, "open_for": user_id, "created_at": now, "updated_at": now}
    insert_ignoring(connection, carts, [row])


def close_cart(connection: sa.Connection, cart_id: str, now: datetime) -> bool:
    """The cart is checked out; answers whether it was open until now."""
    statement = sa.update(carts).where(carts.c.id == cart_id, carts.c.open_for.is_not(None))
    return connection.execute(statement.values(open_for=None, updated_at=now)).rowcount == 1


def set_line(connection: sa.Connection, cart_id: str, product_id: str, quantity: int, now: datetime) -> None:
    """So many of a product are in the cart now."""
    row = {"cart_id": cart_id, "product_id": product_id, "quantity": quantity, "added_at": now}
    insert_updating(connection, cart_items, [row], ["cart_id", "product_id"], ["quantity"])
    touch(connection, cart_id, now)


def remove_line(connection: sa.Connection, cart_id: str, product_id: str, now: datetime) -> bool:
    """The product is not in the cart any more; answers whether it was."""
    statement = sa.delete(cart_items).where(cart_items.c.cart_id == cart_id, cart_items.c.product_id == product_id)
    removed = connection.execute(statement).rowcount == 1
    touch(connection, cart_id, now)
    return removed


def touch(connection: sa.Connection, cart_id: str, now: datetime) -> None:
    """Something about the cart changed."""
    connection.execute(sa.update(carts).where(carts.c.id == cart_id).values(updated_at=now))


def remove_products(connection: sa.Connection, product_ids: Sequence[str]) -> None:
    """Take products out of every open cart."""
    if product_ids:
        still_open = sa.select(carts.c.id).where(carts.c.open_for.is_not(None))
        connection.execute(
            sa.delete(cart_items).where(
                one_of(cart_items.c.product_id, product_ids), cart_items.c.cart_id.in_(still_open)
            )
        )


def product(connection: sa.Connection, product_id: str) -> Product:
    """What is known of a product. It stays so until the end of the transaction; others may read it meanwhile."""
    query = sa.select(products).where(products.c.product_id == product_id).with_for_update(read=True)
    row = connection.execute(query).one_or_none()
    return Product(product_id) if row is None else _product(row)


def products_to_change(connection: sa.Connection, product_ids: Iterable[str]) -> dict[str, Product]:
    """What is known of products, locked, each with a row from now on.

    A row that is not there cannot be locked: two that hear of a new product at once would overwrite each other.
    """
    ids = sorted(set(product_ids))
    if not ids:
        return {}
    insert_ignoring(connection, products, [asdict(Product(product_id)) for product_id in ids])
    query = sa.select(products).where(one_of(products.c.product_id, ids)).order_by(products.c.product_id)
    return {row.product_id: _product(row) for row in connection.execute(query.with_for_update())}


def save_products(connection: sa.Connection, changed: Sequence[Product]) -> None:
    """Write what is known now of products that have a row."""
    if not changed:
        return
    statement = (
        sa.update(products)
        .where(products.c.product_id == sa.bindparam("id"))
        .values({name: sa.bindparam(f"new_{name}", type_=products.c[name].type) for name in _MEMBERS[1:]})
    )
    rows = [{"id": one.product_id, **{f"new_{name}": getattr(one, name) for name in _MEMBERS[1:]}} for one in changed]
    connection.execute(statement, rows)


def is_answered(connection: sa.Connection, claim: Claim) -> bool:
    """Whether a request with this key was answered before."""
    keys = idempotency_keys
    query = sa.select(keys.c.status).where(keys.c.caller == claim.caller, keys.c.key == claim.key)
    return connection.execute(query).scalar_one_or_none() is not None


def _product(row: Any) -> Product:
    return Product(**{name: getattr(row, name) for name in _MEMBERS})
