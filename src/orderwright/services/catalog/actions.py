"""What the catalog can do: take products in, change them, take them out, and know what is available.

Invariant: every change of a price is said in the transaction that makes it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from orderwright.contracts.catalog import ProductCreated, ProductDeleted, ProductUpdated
from orderwright.kernel import money
from orderwright.kernel.errors import BusinessError, Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.catalog import store
from orderwright.services.catalog.domain import NewProduct, Product


class VersionGone(BusinessError):
    """Somebody else changed the product since the caller saw it (RFC 9110, section 13.1.1)."""

    status, problem, title = 412, "precondition-failed", "The product has changed since you saw it"


def create_products(uow: UnitOfWork, new: Sequence[NewProduct], default_currency: str) -> list[str | Conflict]:
    """Take products in: the id of each, or that its id is taken, also by one that was deleted."""
    added = store.insert(uow.connection, new, uow.now)
    results: list[str | Conflict] = []
    for product in new:
        if product.id not in added:
            results.append(Conflict(f"There is, or was, a product {product.id}", problem="product-exists"))
            continue
        added.remove(product.id)
        uow.emit(
            ProductCreated(
                product_id=product.id,
                name=product.name,
                price=money.exact(product.price, product.currency),
                quantity=product.quantity,
                currency=UNSET if product.currency == default_currency else product.currency,
            )
        )
        results.append(product.id)
    return results


def change_product(
    uow: UnitOfWork,
    product_id: str,
    changes: Mapping[str, Any],
    default_currency: str,
    *,
    versions: Collection[int] | None = None,
) -> Product:
    """Change a product. NotFound; VersionGone when it has none of the `versions` that the caller would change."""
    product = store.by_id(uow.connection, product_id, lock=True)
    if product is None:
        raise NotFound(f"There is no product {product_id}")
    if versions is not None and product.version not in versions:
        raise VersionGone(f"The product has version {product.version} now")
    wanted = dict(changes)
    if "price" in wanted:
        wanted["price"] = money.exact(wanted["price"], product.currency)
    if not store.update(uow.connection, product, wanted, uow.now):
        raise VersionGone("Somebody else changed the product at this moment")
    price: Decimal = wanted.get("price", product.price)
    uow.emit(
        ProductUpdated(
            product_id=product_id,
            price=money.exact(price, product.currency),
            quantity=wanted.get("quantity", UNSET),
            name=wanted.get("name", UNSET),
            currency=UNSET if product.currency == default_currency else product.currency,
        )
    )
    changed = store.by_id(uow.connection, product_id)
    assert changed is not None
    return changed


def delete_product(uow: UnitOfWork, product_id: str) -> None:
    """Take a product out. NotFound."""
    if not store.delete(uow.connection, product_id, uow.now):
        raise NotFound(f"There is no product {product_id}")
    uow.emit(ProductDeleted(product_id=product_id))


def learn_levels(uow: UnitOfWork, levels: Sequence[tuple[str, int, datetime]]) -> None:
    """The inventory said how much of products is available."""
    store.set_levels(uow.connection, levels)
