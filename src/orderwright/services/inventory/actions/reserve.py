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
from orderwright.services.inventory.actions.changes import Changes
from orderwright.services.inventory.domain import (
    Levels,
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


def reserve_for_orders(
    changes: Changes, wishes: Mapping[str, Wish], soft: Iterable[Reservation], free: Levels
) -> dict[str, Reservation]:
    """Set goods aside for orders (by their ids) that have no reservation yet, and say for each whether it worked.

    Of `free`, and of what is set aside for their carts (`soft`); answers what is set aside now, by order.
    """
    uow = changes.uow
    carts: defaultdict[str | None, list[Reservation]] = defaultdict(list)
    for reservation in soft:
        carts[reservation.owner].append(reservation)
    made: dict[str, Reservation] = {}
    for order_id, wish in wishes.items():
        wanted = totals(wish.lines)
        # Only when it is this person's turn: before that, their cart's goods are nobody else's.
        theirs = [r for r in carts[wish.owner] if not wanted.keys().isdisjoint(r.wanted)]
        carts[wish.owner] = [r for r in carts[wish.owner] if r not in theirs]
        for reservation in theirs:
            changes.release(reservation, ReservationStatus.CANCELLED, reason="ordered")
            free.give(reservation.takes)
        planned = free.take(wanted)
        if isinstance(planned, list):
            uow.emit(StockReservationFailed(order_id=order_id, items=lines_of(wanted), reason=reason_of(planned)))
        else:
            made[order_id] = _reservation(uow, wish, planned)
            changes.make(made[order_id])
            uow.emit(StockReserved(order_id=order_id, items=lines_of(wanted)))
    return made


def reserve(uow: UnitOfWork, wishes: Sequence[Wish]) -> list[str | BusinessError]:
    """Set goods aside on request: the id of each reservation, or why there is none."""
    known = holdings.by_order(uow.connection, [wish.order_id for wish in wishes if wish.order_id], lock=True)
    free = levels.available(uow.connection, (p for wish in wishes for p, _ in wish.lines), lock=True)
    changes = Changes(uow)
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
        changes.make(reservation)
        results.append(reservation.id)
        if wish.order_id is not None:
            known[wish.order_id] = reservation
    changes.save()
    return results


def change(
    uow: UnitOfWork, reservation_id: str, lines: Sequence[tuple[str, int]] | None, lasts: timedelta | None
) -> Reservation:
    """Give a living reservation other goods, or more time. Refused, and unchanged, when they are not there."""
    reservation = living(uow, reservation_id)
    if lines is not None:
        moving.apply(uow.connection, moving.moves_of((moving.RELEASE, reservation.takes)))
        free = levels.available(uow.connection, (product for product, _ in lines), lock=True)
        planned = free.take(totals(lines))
        if isinstance(planned, list):
            raise Refused(reason_of(planned), problem="insufficient-inventory")
        moving.apply(uow.connection, moving.moves_of((moving.RESERVE, planned)))
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
    changes = Changes(uow)
    for owner, product, quantity in added:
        possible = min(quantity, free.available(product))
        planned = free.take({product: possible}) if possible > 0 else []
        if isinstance(planned, tuple):
            wish = Wish([(product, possible)], None, owner, ReservationKind.CART, lasts)
            changes.make(_reservation(uow, wish, planned))
    changes.save()


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


def repeat_answers(uow: UnitOfWork, reservations: Iterable[Reservation]) -> None:
    """Say once more that these goods are set aside, because it was asked for once more."""
    for reservation in reservations:
        assert reservation.order_id is not None
        uow.emit(StockReserved(order_id=reservation.order_id, items=lines_of(reservation.wanted)))
