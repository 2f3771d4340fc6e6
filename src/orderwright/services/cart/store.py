"""The cart service's SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orderwright.kernel.database import insert_ignoring, insert_updating
from orderwright.services.cart.domain import Cart, CartLine
from orderwright.services.cart.tables import cart_items, carts, products


def open_cart(connection: sa.Connection, user_id: str, *, lock: bool = False) -> Cart | None:
    """Somebody's open cart."""
    query = sa.select(carts).where(carts.c.open_for == user_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    lines = connection.execute(
        sa.select(
            cart_items.c.product_id, cart_items.c.quantity, products.c.name, products.c.price, products.c.currency
        )
        .join(products, products.c.product_id == cart_items.c.product_id)
        .where(cart_items.c.cart_id == row.id)
        .order_by(cart_items.c.added_at, cart_items.c.product_id)
    )
    return Cart(
        row.id,
        row.user_id,
        row.updated_at,
        tuple(CartLine(line.product_id, line.name, line.quantity, line.price, line.currency) for line in lines),
    )


def ensure_open_cart(connection: sa.Connection, cart_id: str, user_id: str, now: datetime) -> None:
    """Open a cart for somebody who has none open."""
    row = {"id": cart_id, "user_id": user_id, "open_for": user_id, "created_at": now, "updated_at": now}
    connection.execute(insert_ignoring(connection, carts), [row])


def close_cart(connection: sa.Connection, cart_id: str, now: datetime) -> bool:
    """The cart is checked out; answers whether it was open until now."""
    statement = sa.update(carts).where(carts.c.id == cart_id, carts.c.open_for.is_not(None))
    return connection.execute(statement.values(open_for=None, updated_at=now)).rowcount == 1


def set_line(connection: sa.Connection, cart_id: str, product_id: str, quantity: int, now: datetime) -> None:
    """So many of a product are in the cart now."""
    row = {"cart_id": cart_id, "product_id": product_id, "quantity": quantity, "added_at": now}
    connection.execute(insert_updating(connection, cart_items, ("cart_id", "product_id"), ("quantity",)), [row])
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
            sa.delete(cart_items).where(cart_items.c.product_id.in_(product_ids), cart_items.c.cart_id.in_(still_open))
        )


def known_products(connection: sa.Connection, product_ids: Iterable[str]) -> dict[str, Any]:
    """What is known of products, locked."""
    query = sa.select(products).where(products.c.product_id.in_(sorted(set(product_ids)))).with_for_update()
    return {row.product_id: row for row in connection.execute(query)}


def save_products(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write products as they are known now."""
    if rows:
        changes = ("name", "price", "currency", "deleted", "changed_at")
        connection.execute(insert_updating(connection, products, ("product_id",), changes), list(rows))
