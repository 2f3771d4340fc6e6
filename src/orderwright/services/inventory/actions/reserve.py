"""Set goods aside: all of an order or nothing, many orders in one transaction.

Invariant: reads plan and conditional writes decide. If a plan does not hold, because somebody took the goods in
between, StockMoved rolls the whole batch back and it is planned anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orderwright.contracts.inventory import StockLine, StockReservationFailed, StockReserved
from orderwright.kernel.errors import BusinessError, Conflict, NotFound, Refused
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.domain import (
    Reservation,
    ReservationKind,
    ReservationStatus,
    Take,
    reason_of,
    totals,
)
from orderwright.services.inventory.store import holdings, levels, moving


@dataclass(frozen=True, slots=True)
class Wish:
    """Goods that somebody wants set aside."""

    lines: Sequence[tuple[str, int]]
    order_id: str | None
    owner: str | None
    kind: ReservationKind
    lasts: timedelta | None


def reserve_for_orders(uow: UnitOfWork, wishes: Sequence[Wish]) -> None:
    """Set goods aside for orders that were created, and say for each whether it worked.

    An order that has a reservation already, also a cancelled one, gets no second one: its message came twice or late.
    """
    known, soft = holdings.by_order_and_cart(
        uow.connection,
        (wish.order_id for wish in wishes if wish.order_id),
        (wish.owner for wish in wishes if wish.owner is not None),
    )
    _repeat_answers(uow, [r for r in known.values() if r.status is ReservationStatus.RESERVED])
    fresh = {wish.order_id: wish for wish in wishes if wish.order_id is not None and wish.order_id not in known}
    carts: defaultdict[str | None, list[Reservation]] = defaultdict(list)
    for reservation in soft:
        carts[reservation.owner].append(reservation)
    free = levels.available(uow.connection, (p for wish in fresh.values() for p, _ in wish.lines), lock=True)
    ordered: list[Reservation] = []
    made: list[Reservation] = []
    for order_id, wish in fresh.items():
        wanted = totals(wish.lines)
        # Only when it is this person's turn: before that, their cart's goods are nobody else's.
        theirs = [r for r in carts[wish.owner] if not wanted.keys().isdisjoint(r.wanted)]
        carts[wish.owner] = [r for r in carts[wish.owner] if r not in theirs]
        ordered += theirs
        free.give(take for reservation in theirs for take in reservation.takes)
        planned = free.take(wanted)
        if isinstance(planned, list):
            uow.emit(StockReservationFailed(order_id=order_id, items=lines_of(wanted), reason=reason_of(planned)))
        else:
            made.append(_reservation(uow, wish, planned))
            uow.emit(StockReserved(order_id=order_id, items=lines_of(wanted)))
    _release_carts(uow, ordered)
    _commit_plan(uow, made)


def reserve(uow: UnitOfWork, wishes: Sequence[Wish]) -> list[str | BusinessError]:
    """Set goods aside on request: the id of each reservation, or why there is none."""
    known = holdings.by_order(uow.connection, [wish.order_id for wish in wishes if wish.order_id], lock=True)
    free = levels.available(uow.connection, (p for wish in wishes for p, _ in wish.lines), lock=True)
    made: list[Reservation] = []
    results: list[str | BusinessError] = []
    for wish in wishes:
        if wish.order_id is not None and wish.order_id in known:
            results.append(Conflict(f"Order {wish.order_id} has a reservation", problem="reservation-exists"))
            continue
        planned = free.take(totals(wish.lines))
        if isinstance(planned, list):
            results.append(Refused(reason_of(planned), problem="insufficient-inventory"))
            continue
        reservation = _reservation(uow, wish, planned)
        made.append(reservation)
        results.append(reservation.id)
        if wish.order_id is not None:
            known[wish.order_id] = reservation
    _commit_plan(uow, made)
    return results


def change(
    uow: UnitOfWork, reservation_id: str, lines: Sequence[tuple[str, int]] | None, lasts: timedelta | None
) -> Reservation:
    """Give a living reservation other goods, or more time. Refused, and unchanged, when they are not there."""
    reservation = living(uow, reservation_id)
    if lines is not None:
        moving.apply(uow.connection, moving.RELEASE, moving.moves_of(reservation.takes))
        free = levels.available(uow.connection, (product for product, _ in lines), lock=True)
        planned = free.take(totals(lines))
        if isinstance(planned, list):
            raise Refused(reason_of(planned), problem="insufficient-inventory")
        moving.apply(uow.connection, moving.RESERVE, moving.moves_of(planned))
        holdings.replace_lines(uow.connection, {reservation_id: planned})
        uow.wake("publish-levels")
    expires_at = reservation.expires_at if lasts is None else uow.now + lasts
    holdings.set_expiry(uow.connection, reservation_id, expires_at, uow.now)
    changed = holdings.by_id(uow.connection, reservation_id)
    assert changed is not None
    return changed


def reserve_softly(uow: UnitOfWork, added: Iterable[tuple[str, str, int]], lasts: timedelta) -> None:
    """Set aside for carts (owner, product, quantity) what is there of it; a cart is no promise."""
    added = list(added)
    free = levels.available(uow.connection, (product for _, product, _ in added), lock=True)
    made: list[Reservation] = []
    for owner, product, quantity in added:
        possible = min(quantity, free.available(product))
        planned = free.take({product: possible}) if possible > 0 else []
        if isinstance(planned, tuple):
            wish = Wish([(product, possible)], None, owner, ReservationKind.CART, lasts)
            made.append(_reservation(uow, wish, planned))
    _commit_plan(uow, made)


def living(uow: UnitOfWork, reservation_id: str) -> Reservation:
    """The reservation of that id, locked. NotFound; Conflict when it is over."""
    reservation = holdings.by_id(uow.connection, reservation_id, lock=True)
    if reservation is None:
        raise NotFound(f"There is no reservation {reservation_id}")
    if reservation.status is not ReservationStatus.RESERVED:
        raise Conflict(f"The reservation is {reservation.status}", problem="reservation-not-active")
    return reservation


def lines_of(wanted: Mapping[str, int]) -> list[StockLine]:
    """Quantities as an event's lines."""
    return [StockLine(product_id=product, quantity=quantity) for product, quantity in wanted.items()]


def _reservation(uow: UnitOfWork, wish: Wish, takes: tuple[Take, ...]) -> Reservation:
    return Reservation(
        id=uow.ids.new(),
        order_id=wish.order_id,
        kind=wish.kind,
        owner=wish.owner,
        status=ReservationStatus.RESERVED,
        takes=takes,
        expires_at=None if wish.lasts is None else uow.now + wish.lasts,
        created_at=uow.now,
        updated_at=uow.now,
    )


def _commit_plan(uow: UnitOfWork, made: Sequence[Reservation]) -> None:
    takes = (take for reservation in made for take in reservation.takes)
    moving.apply(uow.connection, moving.RESERVE, moving.moves_of(takes))
    holdings.insert(uow.connection, made)
    if made:
        uow.wake("publish-levels")


def _release_carts(uow: UnitOfWork, ordered: Sequence[Reservation]) -> None:
    takes = (take for reservation in ordered for take in reservation.takes)
    moving.apply(uow.connection, moving.RELEASE, moving.moves_of(takes))
    ids = [reservation.id for reservation in ordered]
    holdings.set_status(uow.connection, ids, ReservationStatus.CANCELLED, uow.now, reason="ordered")
    if ordered:
        uow.wake("publish-levels")


def _repeat_answers(uow: UnitOfWork, reservations: Iterable[Reservation]) -> None:
    for reservation in reservations:
        assert reservation.order_id is not None
        uow.emit(StockReserved(order_id=reservation.order_id, items=lines_of(reservation.wanted)))
