"""The order saga: reserve, pay, deduct, confirm; and what to do when one of them fails.

Each step stands here with what it does and how it is undone. Doing and undoing are announcements: the services that own
stock and money act on them and answer with events. Invariants: every accepted order reaches `completed` or `cancelled`;
an undo is announced again until stock and money have confirmed it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec.structs import replace

from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed, StockReserved
from orderwright.contracts.payments import PaymentCompleted, PaymentFailed, PaymentRefunded
from orderwright.kernel.clock import Clock
from orderwright.kernel.errors import BusinessError, Conflict, NotFound
from orderwright.kernel.recent import Recent
from orderwright.kernel.retry import Backoff
from orderwright.kernel.saga import (
    Abandon,
    Decision,
    Saga,
    SagaState,
    SagaStatus,
    Signal,
    Step,
    TimedOut,
    advance,
    begin,
)
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.order import actions, store
from orderwright.services.order.actions import Book, Moving, NewOrder
from orderwright.services.order.domain import CancelReason, Fact, FactType, Order
from orderwright.services.order.settings import OrderSettings

log = structlog.get_logger(__name__)

RESERVE, PAY, DEDUCT, CONFIRM = "reserve_inventory", "process_payment", "deduct_inventory", "send_confirmation"
UNDO_AGAIN = Backoff(first_s=15, factor=2, max_s=600, attempts=None)
MANY_UNDO_ATTEMPTS = 5

Announcement = Callable[["OrderSaga", UnitOfWork, Order], None]


class Heard(msgspec.Struct, frozen=True):
    """What a message says of an order: a fact for its history, and perhaps a signal for its saga."""

    order_id: str
    fact: Fact
    signal: Signal | None = None


class OrderSaga:
    """Moves orders. Everything here happens in the caller's unit of work."""

    def __init__(self, settings: OrderSettings, currency: str, clock: Clock) -> None:
        self.currency = currency
        self._recent: Recent[Moving] = Recent(clock)
        self.saga = Saga(
            "order",
            (
                Step(
                    RESERVE,
                    completed_by=StockReserved,
                    failed_by=(StockReservationFailed,),
                    undone_by=StockReleased,
                    timeout_s=settings.reservation_timeout_s,
                    timeout_reason=CancelReason.RESERVATION_TIMEOUT,
                ),
                Step(
                    PAY,
                    completed_by=PaymentCompleted,
                    failed_by=(PaymentFailed,),
                    undone_by=PaymentRefunded,
                    # Payment refunds by itself what turns out to be captured after the order was cancelled.
                    undo_in_doubt=False,
                    timeout_s=settings.payment_timeout_s,
                    timeout_reason=CancelReason.PAYMENT_TIMEOUT,
                ),
                Step(DEDUCT, completed_by=StockDeducted, failed_by=(StockReservationFailed,), undone_by=StockReleased),
                Step(CONFIRM, completed_by=None),
            ),
        )

    def book(self, uow: UnitOfWork, order_ids: Iterable[str] = ()) -> Book:
        """These orders, to be moved together."""
        return Book(uow, order_ids, self._recent)

    def place(self, uow: UnitOfWork, wanted: Sequence[NewOrder]) -> list[str | BusinessError]:
        """Accept orders: the id of each, or why it was refused."""
        book = self.book(uow)
        prices = actions.prices_for(uow, wanted)
        pairs = [(order.placed_by, order.client_reference) for order in wanted if order.client_reference is not None]
        taken = store.known_references(uow.connection, pairs)
        results: list[str | BusinessError] = []
        for order in wanted:
            if order.traceparent:
                uow.traces[order.id] = order.traceparent
            reference = (order.placed_by, order.client_reference or "")
            if order.client_reference is not None and reference in taken:
                results.append(_reference_taken(order.client_reference, taken[reference]))
                continue
            fact = actions.placing(order, prices, self.currency)
            if isinstance(fact, Fact):
                self._begin(book, order.id, fact)
                if order.client_reference is not None:
                    taken[reference] = order.id
            results.append(order.id if isinstance(fact, Fact) else fact)
        book.save()
        return results

    def place_cancelled(self, uow: UnitOfWork, order: NewOrder, detail: str) -> None:
        """Keep an order that was promised but cannot be carried out, so that whoever was promised it learns why."""
        book = self.book(uow)
        fact = Fact(
            FactType.PLACED,
            {
                "customer_id": order.customer_id,
                "placed_by": order.placed_by,
                "currency": order.currency or self.currency,
                "total_amount": "0",
                "items": [],
            },
        )
        placed = book.place(order.id, fact)
        book.record(placed.id, _cancelled(CancelReason.UNKNOWN_PRODUCT, detail))
        book.move(placed.id, SagaState(SagaStatus.COMPENSATED, (), CancelReason.UNKNOWN_PRODUCT), None)
        book.save()

    def hear(self, uow: UnitOfWork, heard: Sequence[Heard]) -> list[Order]:
        """Move the orders that these messages speak of; answers how they stand now.

        What speaks of an order that is not ours is dropped.
        """
        book = self.book(uow, (item.order_id for item in heard))
        for item in heard:
            if item.order_id not in book.orders:
                log.warning("unknown_order", order_id=item.order_id, fact=item.fact.type.value)
                continue
            self._settle(book, item)
        book.save()
        return list(book.orders.values())

    def cancel(self, uow: UnitOfWork, order_id: str, reason: CancelReason, detail: str | None) -> Order:
        """Cancel an order, or note the wish where shipping has to agree first (`cancel_requested`).

        Cancelling twice is the same as once. NotFound; Conflict when it has shipped.
        """
        book = self.book(uow, [order_id])
        order = _known(book, order_id)
        if order.shipped:
            raise _has_shipped(order_id)
        if order.cancelled:
            return order
        if order.completed and order.has_goods:
            book.record(order_id, Fact(FactType.CANCEL_REQUESTED, {"reason": reason.value, "detail": detail}))
        else:
            self._abandon(book, order_id, Abandon(reason), detail)
        book.save()
        return book.orders[order_id]

    def decide_cancellation(self, uow: UnitOfWork, order_id: str, *, agreed: bool) -> Order:
        """Shipping has said whether a completed order can still be cancelled."""
        book = self.book(uow, [order_id])
        order = _known(book, order_id)
        if order.cancel_requested is not None and not order.cancelled:
            if agreed:
                self._abandon(book, order_id, Abandon(order.cancel_requested), None)
            else:
                book.record(order_id, Fact(FactType.CANCEL_REFUSED, {"reason": "already shipped"}))
        book.save()
        return book.orders[order_id]

    def drive(self, uow: UnitOfWork, *, limit: int = 100) -> int:
        """Move the sagas that are due: time a step out, or announce an undo again; answers how many were due."""
        due = store.claim_due(uow.connection, uow.now, limit=limit)
        book = self.book(uow, due)
        for order_id in due:
            state, _ = book.sagas[order_id]
            if state.undos:
                self._undo_again(book, order_id, state)
            elif state.current is not None:
                self._abandon(book, order_id, TimedOut(state.current.name), None)
        book.save()
        return len(due)

    def push(self, uow: UnitOfWork, order_id: str) -> Order:
        """An operator pushes a stuck order on: what it waits for is announced once more."""
        book = self.book(uow, [order_id])
        order = _known(book, order_id)
        state, _ = book.sagas[order_id]
        if state.undos:
            self._undo_again(book, order_id, state)
        elif state.status is SagaStatus.RUNNING:
            actions.say_created(uow, order, self.currency)
        book.save()
        return order

    def _begin(self, book: Book, order_id: str, placed: Fact) -> None:
        order = book.place(order_id, placed)
        decision = begin(self.saga, skip=() if order.has_goods else (RESERVE, DEDUCT))
        self._carry_out(book, order_id, decision, None, None)

    def _settle(self, book: Book, item: Heard) -> None:
        order_id = item.order_id
        before, _ = book.sagas[order_id]
        decision = self._decide(book, order_id, item.signal) if item.signal is not None else None
        moved = decision is not None and decision.changed
        if not book.record(order_id, item.fact, even_if_known=moved) and not moved:
            return
        if item.fact.type is FactType.SHIPPED and book.orders[order_id].cancelled:
            log.error("shipped_although_cancelled", order_id=order_id)
        if decision is not None and moved:
            self._carry_out(book, order_id, decision, before, item.fact.data.get("reason"))

    def _abandon(self, book: Book, order_id: str, signal: Signal, detail: str | None) -> None:
        before, _ = book.sagas[order_id]
        decision = self._decide(book, order_id, signal)
        if decision.changed:
            self._carry_out(book, order_id, decision, before, detail)

    def _decide(self, book: Book, order_id: str, signal: Signal) -> Decision:
        order, (before, _) = book.orders[order_id], book.sagas[order_id]
        decision = advance(self.saga, before, signal)
        if PAY in decision.undo and order.refunded_amount >= order.total_amount:
            # All of it went back before the undo was asked for: payment has said so and will not say it again.
            undone = advance(self.saga, decision.state, PaymentRefunded)
            return replace(decision, state=undone.state, undo=tuple(step for step in decision.undo if step != PAY))
        return decision

    def _carry_out(
        self, book: Book, order_id: str, decision: Decision, before: SagaState | None, detail: str | None
    ) -> None:
        uow, state = book.uow, decision.state
        undoing = state.status in {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}
        newly_cancelled = undoing and book.record(order_id, _cancelled(_reason(state), detail))
        if newly_cancelled or decision.undo:
            actions.say_cancelled(uow, book.orders[order_id])
        if state.status is SagaStatus.COMPLETED:
            book.record(order_id, Fact(FactType.COMPLETED, {}))
        for step in decision.do:
            _DO[step](self, uow, book.orders[order_id])
        book.move(order_id, state, self._due_at(book, order_id, before, state))

    def _undo_again(self, book: Book, order_id: str, state: SagaState) -> None:
        attempts = max(step.undo_attempts for step in state.undos)
        if attempts >= MANY_UNDO_ATTEMPTS:
            log.error("undo_not_confirmed", order_id=order_id, attempts=attempts, steps=[s.name for s in state.undos])
        actions.say_cancelled(book.uow, book.orders[order_id])
        again = state.with_undo_asked_again()
        book.move(order_id, again, self._due_at(book, order_id, state, again))

    def _due_at(self, book: Book, order_id: str, before: SagaState | None, after: SagaState) -> datetime | None:
        now = book.uow.now
        if after.undos:
            attempts = max(step.undo_attempts for step in after.undos)
            return now + timedelta(seconds=UNDO_AGAIN.delay_s(attempts, book.uow.ids.jitter()) or 0)
        current = after.current
        if after.status is not SagaStatus.RUNNING or current is None:
            return None
        if before is not None and before.current is not None and before.current.name == current.name:
            return book.sagas[order_id][1]
        timeout_s = self.saga.step(current.name).timeout_s
        return None if timeout_s is None else now + timedelta(seconds=timeout_s)


def _reserve(saga: OrderSaga, uow: UnitOfWork, order: Order) -> None:
    """Undone by OrderCancelled, which makes the inventory give the goods back."""
    actions.say_created(uow, order, saga.currency)


def _pay(saga: OrderSaga, uow: UnitOfWork, order: Order) -> None:
    """Payment acts on StockReserved, or when somebody pays; only an order of an amount has to be announced here.

    Undone by OrderCancelled, which makes payment refund what was captured.
    """
    if not order.has_goods:
        actions.say_created(uow, order, saga.currency)


def _deduct(_saga: OrderSaga, _uow: UnitOfWork, _order: Order) -> None:
    """The inventory acts on PaymentCompleted. Undone by OrderCancelled, which makes it restock."""


def _confirm(_saga: OrderSaga, uow: UnitOfWork, order: Order) -> None:
    """Shipping and notification act on it. A confirmation that was sent cannot be undone."""
    actions.say_completed(uow, order)


_DO: dict[str, Announcement] = {RESERVE: _reserve, PAY: _pay, DEDUCT: _deduct, CONFIRM: _confirm}


def _reason(state: SagaState) -> str:
    known = {f"{RESERVE} failed": CancelReason.INSUFFICIENT_INVENTORY, f"{PAY} failed": CancelReason.PAYMENT_FAILED}
    known[f"{DEDUCT} failed"] = CancelReason.INSUFFICIENT_INVENTORY
    reason = state.reason or CancelReason.CUSTOMER_REQUEST
    return known.get(reason, reason)


def _cancelled(reason: str, detail: str | None) -> Fact:
    return Fact(FactType.CANCELLED, {"reason": str(reason), "detail": detail})


def _known(book: Book, order_id: str) -> Order:
    if order_id not in book.orders:
        raise NotFound(f"There is no order {order_id}")
    return book.orders[order_id]


def _has_shipped(order_id: str) -> Conflict:
    return Conflict(f"Order {order_id} has shipped and cannot be cancelled", problem="invalid-state-transition")


def _reference_taken(reference: str, order_id: str) -> Conflict:
    return Conflict(
        f"You have placed an order with the id {reference} before",
        problem="client-reference-taken",
        extra={"order_id": order_id},
    )
