"""What a cart can do: take items, lose them, be checked out; and follow the catalog.

Invariants: a cart is checked out once, decided by one conditional statement; prices are the catalog's newest word, and
a product that was deleted stays deleted whatever comes late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from orderwright.contracts.carts import CartCheckedOut, CartItemAdded
from orderwright.contracts.carts import CartLine as ContractLine
from orderwright.kernel import money
from orderwright.kernel.errors import Conflict, Invalid, NotFound, Refused
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.cart import store
from orderwright.services.cart.domain import Cart
from orderwright.services.cart.settings import CartSettings


@dataclass(frozen=True, slots=True)
class Said:
    """What the catalog said of a product; without a price it was deleted."""

    product_id: str
    at: datetime
    price: Decimal | None
    name: str | None = None
    currency: str | None = None


def cart_of(uow: UnitOfWork, user_id: str) -> Cart:
    """Somebody's open cart, empty when there is none."""
    return store.open_cart(uow.connection, user_id) or Cart("", user_id, uow.now, ())


def add_item(uow: UnitOfWork, user_id: str, product_id: str, quantity: int, limits: CartSettings) -> Cart:
    """Put so many more into the cart. Refused for a product that is not for sale; Invalid when the cart is full."""
    product = store.known_products(uow.connection, [product_id]).get(product_id)
    if product is None or product.deleted:
        raise Refused(f"There is no product {product_id}", problem="unknown-product", extra={"product_id": product_id})
    store.ensure_open_cart(uow.connection, uow.ids.new(), user_id, uow.now)
    cart = _open(uow, user_id)
    before = next((line.quantity for line in cart.lines if line.product_id == product_id), 0)
    if not before and len(cart.lines) >= limits.max_lines:
        raise Invalid(f"A cart holds at most {limits.max_lines} different products", problem="too-many-items")
    if before + quantity > limits.max_quantity:
        raise Invalid(f"A cart holds at most {limits.max_quantity} of one product", problem="too-many-items")
    if cart.currency not in {None, product.currency}:
        raise Conflict(
            f"The cart is in {cart.currency}, this is sold in {product.currency}", problem="currency-mismatch"
        )
    store.set_line(uow.connection, cart.id, product_id, before + quantity, uow.now)
    uow.emit(CartItemAdded(user_id=user_id, product_id=product_id, quantity=quantity))
    return _open(uow, user_id)


def set_item(uow: UnitOfWork, user_id: str, product_id: str, quantity: int) -> Cart:
    """Have so many in the cart. NotFound when the product is not in it."""
    cart = _open(uow, user_id)
    before = next((line.quantity for line in cart.lines if line.product_id == product_id), None)
    if before is None:
        raise NotFound(f"{product_id} is not in the cart")
    store.set_line(uow.connection, cart.id, product_id, quantity, uow.now)
    if quantity > before:
        uow.emit(CartItemAdded(user_id=user_id, product_id=product_id, quantity=quantity - before))
    return _open(uow, user_id)


def remove_item(uow: UnitOfWork, user_id: str, product_id: str) -> Cart:
    """Take a product out of the cart. NotFound when it is not in it."""
    cart = _open(uow, user_id)
    if not store.remove_line(uow.connection, cart.id, product_id, uow.now):
        raise NotFound(f"{product_id} is not in the cart")
    return _open(uow, user_id)


def check_out(uow: UnitOfWork, user_id: str, default_currency: str, *, expected: str | None, trace: str | None) -> Cart:
    """The cart becomes an order. Conflict when there is nothing in it, or it is not the `expected` one any more."""
    cart = store.open_cart(uow.connection, user_id, lock=True)
    if cart is None or not cart.lines or expected not in {None, cart.id}:
        raise Conflict("There is nothing in the cart", problem="empty-cart")
    if not store.close_cart(uow.connection, cart.id, uow.now):
        raise Conflict("The cart was checked out at this moment", problem="empty-cart")
    if trace is not None:
        uow.traces[cart.id] = trace
    uow.emit(
        CartCheckedOut(
            user_id=user_id,
            cart_id=cart.id,
            items=[ContractLine(product_id=line.product_id, quantity=line.quantity) for line in cart.lines],
            currency=UNSET if cart.currency in {None, default_currency} else str(cart.currency),
        )
    )
    return cart


def hear_catalog(uow: UnitOfWork, said: Sequence[Said], default_currency: str) -> None:
    """Take in what the catalog said, in the order of its own clock."""
    known = {
        product_id: (row.changed_at, row.deleted, row.name)
        for product_id, row in store.known_products(uow.connection, (word.product_id for word in said)).items()
    }
    rows: dict[str, dict[str, Any]] = {}
    for word in sorted(said, key=lambda one: one.at):
        changed_at, deleted, name = known.get(word.product_id, (None, False, None))
        if deleted or (changed_at is not None and word.at < changed_at and word.price is not None):
            continue
        currency = word.currency or default_currency
        rows[word.product_id] = {
            "product_id": word.product_id,
            "name": word.name or name,
            "price": Decimal(0) if word.price is None else money.exact(word.price, currency),
            "currency": currency,
            "deleted": word.price is None,
            "changed_at": word.at,
        }
        known[word.product_id] = (word.at, word.price is None, word.name or name)
    store.save_products(uow.connection, list(rows.values()))
    store.remove_products(uow.connection, [product_id for product_id, row in rows.items() if row["deleted"]])


def _open(uow: UnitOfWork, user_id: str) -> Cart:
    cart = store.open_cart(uow.connection, user_id, lock=True)
    if cart is None:
        raise NotFound("The cart is empty")
    return cart
