"""End reservations: goods leave for good, come back, or their time is over.

Invariants: a reservation ends once, by a change of status under a lock, and stock moves with it in the same
transaction. OrderCancelled is always answered with StockReleased, also when it comes again or before the order was
heard of, because the saga waits for it.
"""

from collections.abc import Iterable, Sequence

from orderwright.contracts.inventory import StockDeducted, StockReleased, StockReservationFailed
from orderwright.kernel.errors import Conflict, NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.actions.changes import Changes
from orderwright.services.inventory.actions.reserve import lines_of
from orderwright.services.inventory.domain import Reservation, ReservationKind, ReservationStatus, Take, reason_of
from orderwright.services.inventory.store import holdings, levels, moving


def cancel_orders(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """These orders are cancelled: set their goods free or put them back, and answer every one of them."""
    unique = list(dict.fromkeys(order_ids))
    known = holdings.by_order(uow.connection, unique, lock=True)
    _end(uow, list(known.values()), ReservationStatus.CANCELLED)
    # The order may still arrive: a reservation that is cancelled from the start keeps it from taking anything.
    holdings.insert(uow.connection, [_tombstone(uow, order_id) for order_id in unique if order_id not in known])
    for order_id in order_ids:
        held = known[order_id].wanted if order_id in known else {}
        uow.emit(StockReleased(order_id=order_id, items=lines_of(held)))


def release_unpaid(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """The payments of these orders failed: what is still set aside for them is free."""
    known = holdings.by_order(uow.connection, order_ids, lock=True)
    living = [r for r in known.values() if r.status is ReservationStatus.RESERVED]
    _end(uow, living, ReservationStatus.CANCELLED, reason="payment failed")
    _say_released(uow, living)


def deduct(changes: Changes, living: Iterable[Reservation]) -> None:
    """The orders of these are paid: their goods leave the stock for good."""
    for reservation in living:
        changes.deduct(reservation)
        _say_deducted(changes.uow, reservation)


def cancel(uow: UnitOfWork, reservation_id: str) -> Reservation:
    """Set a reservation's goods free on request; twice is the same as once.

    An expired one is cancelled too, so that no late payment takes its goods again. Conflict when the goods have left.
    """
    reservation = holdings.by_id(uow.connection, reservation_id, lock=True)
    if reservation is None:
        raise NotFound(f"There is no reservation {reservation_id}")
    if reservation.status is ReservationStatus.DEDUCTED:
        raise Conflict("The goods of this reservation have left the stock", problem="reservation-not-active")
    _end(uow, [reservation], ReservationStatus.CANCELLED, reason="on request")
    if reservation.status is ReservationStatus.RESERVED:
        _say_released(uow, [reservation])
    ended = holdings.by_id(uow.connection, reservation_id)
    assert ended is not None
    return ended


def expire(uow: UnitOfWork, *, limit: int = 100) -> int:
    """End reservations whose time is over; answers how many."""
    over = holdings.expired(uow.connection, uow.now, limit=limit)
    _end(uow, over, ReservationStatus.EXPIRED)
    _say_released(uow, [r for r in over if r.kind is not ReservationKind.CART])
    return len(over)


def _end(
    uow: UnitOfWork, reservations: Sequence[Reservation], status: ReservationStatus, *, reason: str | None = None
) -> None:
    living = [r for r in reservations if r.status is ReservationStatus.RESERVED]
    gone = [r for r in reservations if r.status is ReservationStatus.DEDUCTED]
    # An expired reservation of a cancelled order must not be revived by a late payment.
    stale = [r for r in reservations if r.status is ReservationStatus.EXPIRED]
    free, back = ([take for r in ended for take in r.takes] for ended in (living, gone))
    moving.apply(uow.connection, moving.moves_of((moving.RELEASE, free), (moving.RESTOCK, back)))
    ids = [r.id for r in (*living, *gone, *stale)]
    holdings.set_status(uow.connection, ids, status, uow.now, reason=reason)
    if living or gone:
        uow.wake("publish-levels")


def deduct_expired(uow: UnitOfWork, expired: Sequence[Reservation]) -> None:
    """The orders of these are paid too late: they get their goods all the same if they are there, or learn that not."""
    if not expired:
        return
    free = levels.available(uow.connection, (product for r in expired for product in r.wanted), lock=True)
    taken: dict[str, tuple[Take, ...]] = {}
    for reservation in expired:
        planned = free.take(reservation.wanted)
        if isinstance(planned, tuple):
            taken[reservation.id] = planned
            _say_deducted(uow, reservation)
        elif reservation.order_id is not None:
            reason = f"The reservation expired before payment. {reason_of(planned)}"
            items = lines_of(reservation.wanted)
            uow.emit(StockReservationFailed(order_id=reservation.order_id, items=items, reason=reason))
    takes = [take for planned in taken.values() for take in planned]
    moving.apply(uow.connection, moving.moves_of((moving.DEDUCT_FREE, takes)))
    holdings.replace_lines(uow.connection, taken)
    holdings.set_status(uow.connection, list(taken), ReservationStatus.DEDUCTED, uow.now)
    if taken:
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
