"""GET /orders/{id}/stream: an order's life as server-sent events, resumable by Last-Event-ID.

Invariant: the id of an event is the order's version, and events are read from the history, so that nothing is missed
whichever process heard the news.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent

from orderwright.kernel.errors import NotFound
from orderwright.services.order import store
from orderwright.services.order.api.desk import Desk, OrderDesk, OwnOrder
from orderwright.services.order.api.schemas import fact_view, status_view
from orderwright.services.order.domain import Order

router = APIRouter(tags=["orders"])


@router.get(
    "/orders/{order_id}/stream",
    summary="Follow an order live",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_order(
    order: OwnOrder,
    desk: Desk,
    last_event_id: Annotated[str | None, Header(max_length=20, description="The last event that you have seen")] = None,
) -> EventSourceResponse:
    """First the status as it is now, then each change; `id:` counts the order's versions."""
    seen = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else None
    return EventSourceResponse(_follow(desk, order, seen), ping=15)


async def _follow(desk: OrderDesk, order: Order, seen: int | None) -> AsyncIterator[ServerSentEvent]:
    with desk.kit.feed.listen(order.id) as listener:
        order = await desk.order(order.id)
        version = order.version if seen is None else min(seen, order.version)
        yield ServerSentEvent(status_view(order).model_dump_json(), event="status", id=str(version))
        while True:
            facts = await desk.kit.units.glance(partial(store.history, order_id=order.id, after=version))
            for number, fact, at in facts:
                version = number
                yield ServerSentEvent(
                    fact_view(number, fact, at).model_dump_json(), event=fact.type.value, id=str(number)
                )
            if facts:
                order = await _now(desk, order)
                yield ServerSentEvent(status_view(order).model_dump_json(), event="status", id=str(version))
            await listener.wait(desk.settings.stream_poll_s)


async def _now(desk: OrderDesk, order: Order) -> Order:
    try:
        return await desk.order(order.id)
    except NotFound:
        return order
