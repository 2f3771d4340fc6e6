"""What the order service's endpoints work with, and the questions that they all ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from orderwright.kernel.auth import AnyCaller, Caller
from orderwright.kernel.batching import Gathered, Intake
from orderwright.kernel.errors import NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.manifest import Kit
from orderwright.services.order import store
from orderwright.services.order.actions import NewOrder
from orderwright.services.order.api.awaited import AwaitedAnswers
from orderwright.services.order.domain import Order
from orderwright.services.order.sagas import OrderSaga
from orderwright.services.order.settings import OrderSettings


@dataclass(frozen=True, slots=True)
class PaymentWish:
    """How somebody wants to pay for an order; opaque here, handed on to payment and kept nowhere."""

    order_id: str
    customer_id: str
    method: dict[str, object]


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """The tools of the endpoints."""

    kit: Kit
    settings: OrderSettings
    saga: OrderSaga
    intake: Intake[NewOrder, str]
    awaited: AwaitedAnswers
    wishes: Gathered[PaymentWish, None]
    orders: Gathered[str, Order | None]

    async def order(self, order_id: str) -> Order:
        """The order of that id. NotFound when there is none."""
        found = await self.orders.submit(order_id) if is_uuid(order_id) else None
        if found is None:
            raise NotFound(f"There is no order {order_id}" if is_uuid(order_id) else "There is no such order")
        return found

    async def own_order(self, order_id: str, caller: Caller) -> Order:
        """The order of that id, if the caller may see it; somebody else's is as unknown as none."""
        order = await self.order(order_id)
        if not caller.may_act_for(order.customer_id):
            raise NotFound(f"There is no order {order_id}")
        return order


async def load_orders(kit: Kit, order_ids: Sequence[str]) -> list[Order | None]:
    """The orders of these ids, for all who ask at the same moment."""
    found = await kit.units.glance(lambda connection: store.see(connection, sorted(set(order_ids))))
    return [found.get(order_id) for order_id in order_ids]


async def _desk(request: Request) -> OrderDesk:
    desk: OrderDesk = request.app.state.desk
    return desk


Desk = Annotated[OrderDesk, Depends(_desk)]


async def _own(order_id: str, caller: AnyCaller, desk: Desk) -> Order:
    return await desk.own_order(order_id, caller)


OwnOrder = Annotated[Order, Depends(_own)]
"""The order in the path, if it is the caller's to see."""
