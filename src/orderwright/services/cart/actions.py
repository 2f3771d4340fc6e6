"""What a cart can do: take items, lose them, be checked out; and follow the catalog.

Invariants: a cart is checked out once, decided by one conditional statement; prices are the catalog's newest word, and
a product that was deleted stays deleted whatever comes late.
"""

from collections.abc import Sequence

from msgspec import UNSET

from orderwright.contracts.carts import CartCheckedOut, CartItemAdded
from orderwright.contracts.carts import CartLine as ContractLine
from orderwright.kernel.errors import Conflict, Invalid, NotFound, Refused
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.cart import store
from orderwright.services.cart.domain import Cart, Product, Said
from orderwright.services.cart.settings import CartSettings


class NeverHeardOf(Refused):
    """Nothing was said here of the product yet; the catalog may know it all the same."""


def add_item(uow: UnitOfWork, user_id: str, product_id: str, quantity: int, limits: CartSettings) -> Cart:
    """Put so many more into the cart. Refused for a product that is not for sale; Invalid when the cart is full."""
    product = _for_sale(uow, product_id)
    cart = _opened(uow, user_id)
    before = cart.quantity_of(product_id)
    if not before and len(cart.lines) >= limits.max_lines:
        raise Invalid(f"A cart holds at most {limits.max_lines} different products", problem="too-many-items")
    _check_quantity(before + quantity, limits)
    if cart.currency not in {None, product.currency}:
        raise Conflict(
            f"The cart is in {cart.currency}, this is sold in {product.currency}", problem="currency-mismatch"
        )
    store.set_line(uow.connection, cart.id, product_id, before + quantity, uow.now)
    uow.emit(CartItemAdded(user_id=user_id, product_id=product_id, quantity=quantity))
    return _open(uow, user_id)


def set_item(uow: UnitOfWork, user_id: str, product_id: str, quantity: int, limits: CartSettings) -> Cart:
    """Have so many in the cart. NotFound when the product is not in it; Invalid when these are too many."""
    cart = _open(uow, user_id)
    before = cart.quantity_of(product_id)
    if not before:
        raise NotFound(f"{product_id} is not in the cart")
    _check_quantity(quantity, limits)
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


def hear_catalog(uow: UnitOfWork, said: Sequence[Said]) -> None:
    """Take in what the catalog said; a product that it deleted leaves every open cart."""
    before = store.products_to_change(uow.connection, (word.product_id for word in said))
    now = dict(before)
    for word in said:
        now[word.product_id] = now[word.product_id].after(word)
    changed = [product for product_id, product in now.items() if product != before[product_id]]
    store.save_products(uow.connection, changed)
    store.remove_products(uow.connection, [product.product_id for product in changed if product.deleted])


def _for_sale(uow: UnitOfWork, product_id: str) -> Product:
    product = store.product(uow.connection, product_id)
    if product.known and not product.deleted:
        return product
    kind = Refused if product.known else NeverHeardOf
    raise kind(f"There is no product {product_id}", problem="unknown-product", extra={"product_id": product_id})


def _check_quantity(quantity: int, limits: CartSettings) -> None:
    if quantity > limits.max_quantity:
        raise Invalid(f"A cart holds at most {limits.max_quantity} of one product", problem="too-many-items")


def _opened(uow: UnitOfWork, user_id: str) -> Cart:
    """Somebody's open cart, a new one when there is none; also when the open one is checked out at this moment."""
    while (cart := store.open_cart(uow.connection, user_id, lock=True)) is None:
        store.ensure_open_cart(uow.connection, uow.ids.new(), user_id, uow.now)
    return cart


def _open(uow: UnitOfWork, user_id: str) -> Cart:
    cart = store.open_cart(uow.connection, user_id, lock=True)
    if cart is None:
        raise NotFound("The cart is empty")
    return cart
