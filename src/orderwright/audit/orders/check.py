"""The orders: which there are, and whether what the services tell of each fits together.

Looked at are all orders that the order service knows, and then all that only another service knows.
"""

import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import Books
from orderwright.audit.checks import Moment, Settling, Suspect
from orderwright.audit.findings import Finding
from orderwright.audit.orders.dossier import Dossier
from orderwright.audit.orders.ends import end_findings
from orderwright.audit.orders.goods import HELD, goods_findings
from orderwright.audit.orders.history import history_findings
from orderwright.audit.orders.money import money_findings
from orderwright.audit.orders.reading import dossiers
from orderwright.audit.orders.telling import telling_findings
from orderwright.audit.paging import IDS_AT_ONCE, pages_by_key
from orderwright.kernel.rows import among
from orderwright.services.cart.tables import carts
from orderwright.services.inventory.tables import reservations
from orderwright.services.order.tables import orders
from orderwright.services.payment.tables import payments
from orderwright.services.shipping.tables import shipments

ELSEWHERE: Final[tuple[tuple[str, sa.Column[Any], sa.Select[Any]], ...]] = (
    ("payment", payments.c.id, sa.select(payments.c.id, payments.c.order_id)),
    (
        "inventory",
        reservations.c.id,
        sa.select(reservations.c.id, reservations.c.order_id).where(
            # What somebody set aside by hand may bear any name.
            reservations.c.kind == "order",
            reservations.c.order_id.is_not(None),
            reservations.c.status.in_(sorted(HELD)),
        ),
    ),
    (
        "shipping",
        shipments.c.id,
        sa.select(shipments.c.id, shipments.c.order_id).where(shipments.c.status != "cancelled"),
    ),
    ("cart", carts.c.id, sa.select(carts.c.id, carts.c.id).where(carts.c.open_for.is_(None))),
)
"""Where else an order leaves traces: the key to page by, and the order's id."""
_KNOWN: Final = sa.select(orders.c.id).where(among(orders.c.id, "ids"))


class OrderCheck:
    """Judges orders across all services."""

    name = "orders"
    settling = Settling.SOON

    def __init__(self, books: Books, *, page: int, histories: int, turn: int = 0) -> None:
        self._books = books
        self._page = page
        self._histories = histories
        self._turn = turn
        """Moves on with every audit, so that several together read every history."""

    async def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:
        there = sa.select(orders.c.id).where(orders.c.created_at <= moment.now)
        async for page in pages_by_key(self._books, "order", orders.c.id, there, self._page):
            yield [row[0] for row in page]
        for service, key, query in ELSEWHERE:
            there = query.where(key.table.c.created_at <= moment.now)
            async for page in pages_by_key(self._books, service, key, there, self._page * IDS_AT_ONCE):
                ids = {row[1] for row in page}
                yield sorted(ids - await self._known(ids))

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:
        found = await dossiers(self._books, ids, with_history=[id_ for id_ in ids if self._in_turn(id_)])
        return [suspect for one in found if (suspect := judged(one, moment))]

    async def _known(self, ids: set[str]) -> set[str]:
        given = {"ids": sorted(ids)}
        return set(
            await self._books.read("order", lambda connection: connection.execute(_KNOWN, given).scalars().all())
        )

    def _in_turn(self, order_id: str) -> bool:
        return self._histories > 0 and (zlib.crc32(order_id.encode()) + self._turn) % self._histories == 0


def judged(dossier: Dossier, moment: Moment) -> Suspect | None:
    """What does not fit together about an order; None when all does, or when it moved a moment ago."""
    changed_at = dossier.changed_at
    if changed_at is not None and changed_at > moment.settled_before:
        return None
    findings = tuple(_of_known(dossier, moment) if dossier.order is not None else _of_unknown(dossier))
    return Suspect(dossier.id, dossier.mark, findings) if findings else None


def _of_known(dossier: Dossier, moment: Moment) -> Iterator[Finding]:
    yield from money_findings(dossier, moment)
    yield from goods_findings(dossier)
    yield from end_findings(dossier, moment)
    yield from telling_findings(dossier)
    yield from history_findings(dossier)


def _of_unknown(dossier: Dossier) -> Iterator[Finding]:
    """What ended without a trace is nobody's loss: whoever cancels an order unheard of leaves such rows."""
    payment, reservation, shipment = dossier.payment, dossier.reservation, dossier.shipment
    if payment is not None:
        kept = payment.captured_minor - payment.refunded_minor
        if payment.status in {"pending", "charging", "unknown", "quarantined"} or kept:
            yield dossier.finding(
                "payment_without_order", f"payment {payment.id} is {payment.status}, {kept} minor units are kept"
            )
    if reservation is not None and reservation.kind == "order" and reservation.status in HELD:
        yield dossier.finding("reservation_without_order", f"reservation {reservation.id} is {reservation.status}")
    if shipment is not None and shipment.status != "cancelled":
        yield dossier.finding("shipment_without_order", f"shipment {shipment.id} is {shipment.status}")
    if dossier.cart is not None:
        yield dossier.finding("cart_without_order", f"cart {dossier.id} was checked out at {dossier.cart.updated_at}")
    if dossier.history:
        yield dossier.finding("history_differs", "it has a history, and does not exist")
