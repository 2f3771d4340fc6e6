"""End reservations: goods leave for good, come back, or their time is over.

Invariants: a reservation ends once, by a change of status under a lock, and stock moves with it in the same
transaction. OrderCancelled is always answered with StockReleased, also when it comes again or before the order was
heard of, because the saga waits for it.
"""

from collections.abc import Sequence

from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed
from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory import store
from orderwright.services.inventory.actions.reserve import StockMoved, lines_of
from orderwright.services.inventory.domain import Reservation, ReservationKind, ReservationStatus, reason_of


def cancel_orders(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """These orders are cancelled: set their goods free or put them back, and answer every one of them."""
    unique = list(dict.fromkeys(order_ids))
    known = store.by_order(uow.connection, unique, lock=True)
    _end(uow, list(known.values()), ReservationStatus.CANCELLED)
    # The order may still arrive: a reservation that is cancelled from the start keeps it from taking anything.
    store.insert_reservations(
        uow.connection, [_tombstone(uow, order_id) for order_id in unique if order_id not in known]
    )
    for order_id in order_ids:
        held = known[order_id].wanted if order_id in known else {}
        uow.emit(StockReleased(order_id=order_id, items=lines_of(held)))


def release_unpaid(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """The payments of these orders failed: what is still set aside for them is free."""
    known = store.by_order(uow.connection, order_ids, lock=True)
    living = [r for r in known.values() if r.status is ReservationStatus.RESERVED]
    _end(uow, living, ReservationStatus.CANCELLED, reason="payment failed")
    _say_released(uow, living)


def deduct_orders(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """These orders are paid: their goods leave the stock for good.

    An order whose reservation has expired gets its goods all the same if they are there; otherwise it learns that not.
    """
    known = store.by_order(uow.connection, order_ids, lock=True)
    living = [r for r in known.values() if r.status is ReservationStatus.RESERVED]
    if not store.apply(uow.connection, store.DEDUCT, store.moves_of(take for r in living for take in r.takes)):
        raise StockMoved("A reservation holds more than its stock row says is reserved")
    store.set_status(uow.connection, [r.id for r in living], ReservationStatus.DEDUCTED, uow.now)
    for reservation in living:
        _say_deducted(uow, reservation)
    for reservation in known.values():
        if reservation.status is ReservationStatus.EXPIRED:
            _deduct_expired(uow, reservation)


def cancel(uow: UnitOfWork, reservation_id: str) -> Reservation:
    """Set a reservation's goods free on request; twice is the same as once. Conflict when the goods have left."""
    reservation = store.by_id(uow.connection, reservation_id, lock=True)
    if reservation is None:
        raise NotFound(f"There is no reservation {reservation_id}")
    if reservation.status is ReservationStatus.DEDUCTED:
        raise Conflict("The goods of this reservation have left the stock", problem="reservation-not-active")
    if reservation.status is ReservationStatus.RESERVED:
        _end(uow, [reservation], ReservationStatus.CANCELLED, reason="on request")
        _say_released(uow, [reservation])
    ended = store.by_id(uow.connection, reservation_id)
    assert ended is not None
    return ended


def expire(uow: UnitOfWork, *, limit: int = 100) -> int:
    """End reservations whose time is over; answers how many."""
    over = store.expired(uow.connection, uow.now, limit=limit)
    _end(uow, over, ReservationStatus.EXPIRED)
    _say_released(uow, [r for r in over if r.kind is not ReservationKind.CART])
    return len(over)


def _end(
    uow: UnitOfWork, reservations: Sequence[Reservation], status: ReservationStatus, *, reason: str | None = None
) -> None:
    living = [r for r in reservations if r.status is ReservationStatus.RESERVED]
    gone = [r for r in reservations if r.status is ReservationStatus.DEDUCTED]
    if not store.apply(uow.connection, store.RELEASE, store.moves_of(take for r in living for take in r.takes)):
        raise StockMoved("A reservation holds more than its stock row says is reserved")
    store.apply(uow.connection, store.RESTOCK, store.moves_of(take for r in gone for take in r.takes))
    store.set_status(uow.connection, [r.id for r in (*living, *gone)], status, uow.now, reason=reason)
    # An expired reservation of a cancelled order must not be revived by a late payment.
    if status is ReservationStatus.CANCELLED:
        stale = [r.id for r in reservations if r.status is ReservationStatus.EXPIRED]
        store.set_status(uow.connection, stale, status, uow.now)
    if living or gone:
        uow.wake("publish-levels")


def _deduct_expired(uow: UnitOfWork, reservation: Reservation) -> None:
    assert reservation.order_id is not None
    planned = store.levels(uow.connection, reservation.wanted, lock=True).take(reservation.wanted)
    if isinstance(planned, list):
        uow.emit(
            StockReservationFailed(
                order_id=reservation.order_id,
                items=lines_of(reservation.wanted),
                reason=f"The reservation expired before payment. {reason_of(planned)}",
            )
        )
        return
    if not store.apply(uow.connection, store.DEDUCT_FREE, store.moves_of(planned)):
        raise StockMoved("Somebody else took goods that were planned for")
    store.replace_lines(uow.connection, reservation.id, planned)
    store.set_status(uow.connection, [reservation.id], ReservationStatus.DEDUCTED, uow.now)
    _say_deducted(uow, reservation)
    uow.wake("publish-levels")


def _tombstone(uow: UnitOfWork, order_id: str) -> Reservation:
    return Reservation(
        id=uow.ids.new(),
        order_id=order_id,
        kind=ReservationKind.ORDER,
        owner=None,
        status=ReservationStatus.CANCELLED,
        takes=(),
        expires_at=None,
        created_at=uow.now,
        updated_at=uow.now,
        reason="cancelled before it was heard of",
    )


def _say_released(uow: UnitOfWork, reservations: Sequence[Reservation]) -> None:
    for reservation in reservations:
        if reservation.order_id is not None:
            uow.emit(StockReleased(order_id=reservation.order_id, items=lines_of(reservation.wanted)))


def _say_deducted(uow: UnitOfWork, reservation: Reservation) -> None:
    if reservation.order_id is not None:
        uow.emit(StockDeducted(order_id=reservation.order_id, items=lines_of(reservation.wanted)))
