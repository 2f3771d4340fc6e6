"""What happens to orders every day, done together: goods are set aside for new ones, those of paid ones leave.

All of it is read before any of it is written, so it needs no locks: what was read is presumed to hold, and what is
written fails where it does not (see `UnitOfWork.optimistic`).
"""

from collections.abc import Sequence

from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.actions import reserve, settle
from orderwright.services.inventory.actions.changes import Changes
from orderwright.services.inventory.actions.reserve import Wish
from orderwright.services.inventory.domain import ReservationStatus
from orderwright.services.inventory.store import holdings, levels, seen


def carry_on(uow: UnitOfWork, created: Sequence[Wish], paid: Sequence[str]) -> None:
    """Set goods aside for the orders that were created, then deduct those of the orders that are paid.

    An order that has a reservation already, also a cancelled one, gets no second one: its message came twice or late.
    """
    wishes = {wish.order_id: wish for wish in created if wish.order_id is not None}
    owners = [wish.owner for wish in created if wish.owner is not None]
    wanted = [product for wish in wishes.values() for product, _ in wish.lines]
    if uow.optimistic:
        known, soft, free = seen.held_and_free(uow.connection, [*wishes, *paid], owners, wanted)
    else:
        known, soft = holdings.by_order_and_cart(uow.connection, [*wishes, *paid], owners)
        # All rows of stock that will change, so that two who change the same ones lock them in the same order.
        leaving = [take.product_id for order_id in paid if order_id in known for take in known[order_id].takes]
        free = levels.available(uow.connection, [*wanted, *leaving], lock=True)
    fresh = {order_id: wish for order_id, wish in wishes.items() if order_id not in known}
    changes = Changes(uow)
    again = [known[order_id] for order_id in wishes if order_id in known]
    reserve.repeat_answers(uow, [r for r in again if r.status is ReservationStatus.RESERVED])
    now = known | reserve.reserve_for_orders(changes, fresh, soft, free)
    of_paid = [now[order_id] for order_id in dict.fromkeys(paid) if order_id in now]
    settle.deduct(changes, [r for r in of_paid if r.status is ReservationStatus.RESERVED])
    changes.save()
    settle.deduct_expired(uow, [r for r in of_paid if r.status is ReservationStatus.EXPIRED])
