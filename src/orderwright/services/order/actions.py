"""What the order service can do, apart from driving the saga: price an order, record what happened, know prices.

Invariants: the price is the catalog's, whatever the caller says; every change of an order is a fact in its history,
written in the transaction that changes the projection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from orderwright.contracts.orders import OrderCancelled, OrderCompleted, OrderCreated, OrderLine
from orderwright.kernel import money
from orderwright.kernel.errors import BusinessError, Conflict, Invalid, NeedsLocks, Refused
from orderwright.kernel.recent import Recent
from orderwright.kernel.saga import SagaState, SagaStatus
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.order import store
from orderwright.services.order.domain import (
    Fact,
    FactType,
    Line,
    Order,
    OrderStatus,
    evolve,
    is_news,
    items_of,
    place,
    rebuild,
    total_of,
)

Prices = Mapping[str, tuple[Decimal, str, bool]]


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as somebody wants it, before it has a price."""

    id: str
    customer_id: str
    placed_by: str
    lines: tuple[tuple[str, int, Decimal | None], ...] = ()
    """(product, quantity, the price that the caller saw)."""
    amount: Decimal | None = None
    """Only for an order without lines."""
    currency: str | None = None
    client_reference: str | None = None
    shipping_address: Mapping[str, Any] | None = None
    contact: Mapping[str, Any] | None = None
    traceparent: str | None = None


Moving = tuple[Order, SagaState, datetime | None]
"""An order on its way: how it stands, how its saga stands, and when that is due."""


class Book:
    """The orders and sagas that one unit of work touches: loaded together, changed in memory, written together.

    An optimistic one takes them from `recent` where they are. Whatever it takes from there it has to change, because
    only a change is compared with what is there.
    """

    def __init__(self, uow: UnitOfWork, order_ids: Iterable[str], recent: Recent[Moving]) -> None:
        ids = sorted(set(order_ids))
        self.uow = uow
        self._recent = recent
        remembered = recent.among(ids) if uow.optimistic else {}
        unread = [order_id for order_id in ids if order_id not in remembered]
        self.orders, sagas = (store.read if uow.optimistic else store.lock)(uow.connection, unread)
        self.sagas = dict(sagas)
        for order_id, (order, state, due_at) in remembered.items():
            self.orders[order_id], self.sagas[order_id] = order, (state, due_at)
        self._remembered = frozenset(remembered)
        if not uow.optimistic:
            self._compare()
        self._before = {order_id: order.version for order_id, order in self.orders.items()}
        self._facts: list[tuple[str, str, int, Fact, datetime]] = []
        self._new: set[str] = set()
        self._changed: set[str] = set()
        self._relined: set[str] = set()
        self._moved: set[str] = set()

    def _compare(self) -> None:
        kept = self._recent.among(self.orders)
        if any(order.version != self.orders[order_id].version for order_id, (order, *_) in kept.items()):
            self._recent.distrust()

    def place(self, order_id: str, fact: Fact) -> Order:
        """A new order begins with `fact`."""
        order = place(fact, order_id, self.uow.now)
        self.orders[order_id] = order
        self._new.add(order_id)
        self._keep(order, fact)
        return order

    def record(self, order_id: str, fact: Fact, *, even_if_known: bool = False) -> bool:
        """`fact` happened to an order; answers whether it was news, and only then it is kept."""
        order = self.orders[order_id]
        if not even_if_known and not is_news(order, fact):
            return False
        changed = evolve(order, fact, self.uow.now)
        self.orders[order_id] = changed
        self._changed.add(order_id)
        if fact.type is FactType.ITEMS_CHANGED:
            self._relined.add(order_id)
        self._keep(changed, fact)
        return True

    def move(self, order_id: str, state: SagaState, due_at: datetime | None) -> None:
        """An order's saga stands like this now."""
        self.sagas[order_id] = (state, due_at)
        self._moved.add(order_id)

    def save(self) -> None:
        """Write all of it."""
        connection, ids = self.uow.connection, self.uow.ids
        if self.uow.optimistic:
            self._must_be_compared()
        if self._facts:
            store.append_facts(connection, self._facts)
        if new := [self.orders[order_id] for order_id in sorted(self._new)]:
            store.insert_orders(connection, new, iter(ids.new, ""))
        if changed := [self.orders[order_id] for order_id in sorted(self._changed - self._new)]:
            store.update_orders(connection, changed, self._before)
        if relined := sorted(self._relined - self._new):
            store.delete_lines(connection, relined)
            store.insert_lines(connection, [self.orders[order_id] for order_id in relined], iter(ids.new, ""))
        if self._moved:
            store.save_sagas(connection, {order_id: self.sagas[order_id] for order_id in self._moved}, self.uow.now)
        touched = self._new | self._changed | self._moved
        for order_id in touched:
            self.uow.tell(order_id)
        # What acts after the COMMIT holds only this. With the book, and so the unit of work that holds it, it would be
        # a circle, and all that was loaded would stay until the garbage collector comes.
        self.uow.once_committed.append(partial(_remember, self._recent, touched, self._running(touched)))

    def _must_be_compared(self) -> None:
        with_fact = {order_id for _, order_id, *_ in self._facts}
        if not self._changed | self._moved <= with_fact:
            raise NeedsLocks("An order that changes without a fact has no next version that only one can make")
        if not self._remembered <= with_fact:
            raise NeedsLocks("What was remembered of an order and does not change was not compared with what is there")

    def _running(self, touched: Iterable[str]) -> dict[str, Moving]:
        if not self.uow.optimistic:
            return {}
        # Those that are being undone move without facts, too, and those that have ended rarely move.
        running = [order_id for order_id in touched if self.sagas[order_id][0].status is SagaStatus.RUNNING]
        return {order_id: (self.orders[order_id], *self.sagas[order_id]) for order_id in running}

    def _keep(self, order: Order, fact: Fact) -> None:
        self._facts.append((self.uow.ids.new(), order.id, order.version, fact, self.uow.now))


def _remember(recent: Recent[Moving], touched: Iterable[str], running: Mapping[str, Moving]) -> None:
    recent.forget(touched)
    recent.keep(running)


def prices_for(uow: UnitOfWork, wanted: Sequence[NewOrder]) -> Prices:
    """What the catalog last said of every product in `wanted`."""
    return store.prices(uow.connection, {product for order in wanted for product, _, _ in order.lines})


def placing(order: NewOrder, prices: Prices, default_currency: str) -> Fact | BusinessError:
    """The fact that begins `order`, or why it cannot begin."""
    try:
        lines, currency, total = _priced(order, prices, default_currency)
    except BusinessError as refusal:
        return refusal
    return Fact(
        FactType.PLACED,
        {
            "customer_id": order.customer_id,
            "placed_by": order.placed_by,
            "currency": currency,
            "total_amount": format(total, "f"),
            "items": items_of(lines),
            "client_reference": order.client_reference,
            "shipping_address": order.shipping_address,
            "contact": order.contact,
        },
    )


def say_created(uow: UnitOfWork, order: Order, default_currency: str) -> None:
    """Tell the world that `order` was accepted."""
    uow.emit(
        OrderCreated(
            order_id=order.id,
            user_id=order.customer_id,
            items=[_contract_line(line) for line in order.lines],
            total_amount=order.total_amount,
            currency=UNSET if order.currency == default_currency else order.currency,
        )
    )


def say_cancelled(uow: UnitOfWork, order: Order) -> None:
    """Tell the world that `order` will not be carried out; said again until stock and money are known to be back."""
    uow.emit(OrderCancelled(order_id=order.id, reason=order.cancel_reason or "unknown"))


def say_completed(uow: UnitOfWork, order: Order) -> None:
    """Tell the world that `order` can be shipped."""
    uow.emit(OrderCompleted(order_id=order.id, payment_id=order.payment_id or ""))


def learn_prices(
    uow: UnitOfWork, said: Sequence[tuple[str, datetime, Decimal | None, str | None]], default_currency: str
) -> None:
    """The catalog said (product, when, price or None if deleted, currency); old news is dropped."""
    known = store.price_times(uow.connection, {product for product, *_ in said})
    new = {product for product, *_ in said} - known.keys()
    rows: dict[str, dict[str, Any]] = {}
    for product_id, at, price, currency in sorted(said, key=lambda item: item[1]):
        changed_at, deleted = known.get(product_id, (None, False))
        if deleted or (changed_at is not None and at < changed_at):
            continue
        known[product_id] = (at, price is None)
        rows[product_id] = {
            "product_id": product_id,
            "price": Decimal(0) if price is None else money.exact(price, currency or default_currency),
            "currency": currency or default_currency,
            "deleted": price is None,
            "changed_at": at,
        }
    store.save_prices(uow.connection, [row for product_id, row in rows.items() if product_id not in new])
    overtaken = new - store.add_prices(uow.connection, [rows[product_id] for product_id in sorted(new)])
    if overtaken:
        # Another copy learned of these at this moment, perhaps something newer: there is a row to compare with now.
        learn_prices(uow, [item for item in said if item[0] in overtaken], default_currency)


def change_address(book: Book, order_id: str, address: Mapping[str, Any]) -> Order:
    """Send an order somewhere else. Conflict once it is paid."""
    order = book.orders[order_id]
    if order.paid or order.cancelled or order.completed:
        raise Conflict(
            f"The address can be changed before payment only; this order is {order.status}",
            problem="invalid-state-transition",
        )
    book.record(order_id, Fact(FactType.ADDRESS_CHANGED, {"shipping_address": dict(address)}))
    book.save()
    return book.orders[order_id]


def price_lines(uow: UnitOfWork, order: Order, lines: Sequence[tuple[str, int, Decimal | None]]) -> tuple[Line, ...]:
    """What other goods for `order` cost, at the catalog's prices. Refused, Conflict or Invalid as for a new order."""
    wanted = NewOrder(order.id, order.customer_id, order.placed_by, tuple(lines), currency=order.currency)
    priced, _, _ = _priced(wanted, prices_for(uow, [wanted]), order.currency)
    return priced


def change_lines(book: Book, order_id: str, before: Sequence[Line], lines: Sequence[Line]) -> Order:
    """The order has other goods, set aside and priced. Conflict when its goods are not those of `before`."""
    order = book.orders[order_id]
    if order.lines != tuple(before) or order.status is not OrderStatus.AWAITING_PAYMENT:
        raise Conflict(f"The order has changed meanwhile and is {order.status}", problem="invalid-state-transition")
    total = money.exact(total_of(lines), order.currency)
    book.record(order_id, Fact(FactType.ITEMS_CHANGED, {"items": items_of(lines), "total_amount": format(total, "f")}))
    book.save()
    return book.orders[order_id]


def rebuild_projection(uow: UnitOfWork, order_id: str) -> bool:
    """Make an order's projections anew from its history. Answers whether they were wrong while it is on its way.

    Then who moves it may remember them as they were (`kernel/recent`), and write them so once more.
    """
    # Locked first: what happens to it meanwhile waits, and is not lost.
    found, sagas = store.lock(uow.connection, [order_id])
    facts = [(fact, at) for _, fact, at in store.history(uow.connection, order_id, limit=100_000)]
    order = rebuild(order_id, facts)
    store.update_orders(uow.connection, [order], {order_id: found[order_id].version})
    store.delete_lines(uow.connection, [order_id])
    store.insert_lines(uow.connection, [order], iter(uow.ids.new, ""))
    on_its_way = any(saga.status is SagaStatus.RUNNING for saga, _ in sagas.values())
    return on_its_way and order != found[order_id]


def _priced(order: NewOrder, prices: Prices, default_currency: str) -> tuple[tuple[Line, ...], str, Decimal]:
    if order.amount is not None:
        currency = order.currency or default_currency
        return (), currency, money.exact(order.amount, currency)
    lines: dict[str, Line] = {}
    stated_currency = order.currency
    for product_id, quantity, stated in order.lines:
        price, product_currency = _price_of(product_id, prices)
        stated_currency = stated_currency or product_currency
        if product_currency != stated_currency:
            raise Invalid(
                f"{product_id} is sold in {product_currency}, not in {stated_currency}", problem="currency-mismatch"
            )
        if stated is not None and stated != price:
            raise Conflict(
                f"{product_id} costs {price} {product_currency} now",
                problem="price-changed",
                extra={"product_id": product_id, "unit_price": format(price, "f"), "currency": product_currency},
            )
        line = lines.get(product_id, Line(product_id, 0, price))
        lines[product_id] = replace(line, quantity=line.quantity + quantity)
    chosen = stated_currency or default_currency
    return tuple(lines.values()), chosen, money.exact(total_of(lines.values()), chosen)


def _contract_line(line: Line) -> OrderLine:
    return OrderLine(product_id=line.product_id, quantity=line.quantity, price=line.unit_price)


def _price_of(product_id: str, prices: Prices) -> tuple[Decimal, str]:
    price, currency, deleted = prices.get(product_id, (Decimal(0), "", True))
    if deleted:
        raise Refused(f"There is no product {product_id}", problem="unknown-product", extra={"product_id": product_id})
    return price, currency
