"""Queue what has to be told. Nothing is sent here.

Invariant: what is told has a key that belongs to what happened (order, kind, event where it can happen again), so the
same news heard twice is told once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orderwright.kernel.errors import NotFound
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.notification import store
from orderwright.services.notification.domain import Channel, NotificationStatus, Template, checked
from orderwright.services.notification.domain.texts import BUILT_IN


@dataclass(frozen=True, slots=True)
class News:
    """Something that a customer would want to know."""

    type: str
    order_id: str
    context: Mapping[str, Any]
    once: str
    """Makes it the same news when it is heard again."""


def orders_created(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember whose orders these are, and what is in them, for the texts."""
    store.note_orders(uow.connection, list({row["order_id"]: row for row in rows}.values()))


def tell(uow: UnitOfWork, news: Sequence[News]) -> None:
    """Queue an e-mail for each piece of news."""
    rows = [
        _row(uow, type_=n.type, channel=Channel.EMAIL, once=n.once, order_id=n.order_id, context=n.context)
        for n in news
    ]
    store.insert(uow.connection, rows)
    uow.wake("send")


def write_to(
    uow: UnitOfWork,
    channel: Channel,
    recipient: str,
    *,
    type_: str,
    context: Mapping[str, Any],
    order_id: str | None,
) -> str:
    """Queue a message to somebody in particular; answers its id."""
    row = _row(uow, type_=type_, channel=channel, once="", order_id=order_id, context=context)
    row |= {"once": f"message:{row['id']}", "recipient": recipient}
    store.insert(uow.connection, [row])
    uow.wake("send")
    return str(row["id"])


def put_template(uow: UnitOfWork, template: Template, by: str) -> Template:
    """Use these words from now on. NotFound for a kind that nobody tells; Invalid when they cannot be read."""
    if template.name not in BUILT_IN:
        raise NotFound(f"There is no template {template.name}")
    store.save_template(uow.connection, checked(template), by, uow.now)
    return template


def _row(
    uow: UnitOfWork, *, type_: str, channel: Channel, once: str, order_id: str | None, context: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": uow.ids.new(),
        "type": type_,
        "channel": channel.value,
        "once": once,
        "order_id": order_id,
        "context": dict(context),
        "status": NotificationStatus.QUEUED.value,
        "attempts": 0,
        "next_attempt_at": uow.now,
        "created_at": uow.now,
    }
