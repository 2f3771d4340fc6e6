"""The post office: takes what is queued, finds out whom it is for, puts it into words, and hands it over.

Invariants: it is handed over outside of any transaction and recorded after; a crash in between sends it twice with the
same Message-ID, never not at all. Without a way out a message is put into words and kept, for whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import structlog

from orderwright.kernel.errors import Invalid, Unavailable
from orderwright.kernel.manifest import Kit
from orderwright.kernel.retry import Backoff
from orderwright.services.notification import store
from orderwright.services.notification.domain import Channel, Notification, NotificationStatus, Template, render
from orderwright.services.notification.domain.texts import BUILT_IN
from orderwright.services.notification.providers import Carrier, Outgoing, SendLater, SendNever
from orderwright.services.notification.settings import NotificationSettings

log = structlog.get_logger(__name__)

BATCH = 100
LEASE = timedelta(seconds=120)
NO_ADDRESS = "no address is known"


@dataclass(frozen=True, slots=True)
class Person:
    """How to reach somebody."""

    customer_id: str
    name: str | None
    email: str | None
    phone: str | None

    def address_for(self, channel: Channel) -> str | None:
        """Where a message of that kind goes."""
        return self.email if channel is Channel.EMAIL else self.phone


class PostOffice:
    """Sends what is queued."""

    def __init__(self, kit: Kit, settings: NotificationSettings, carriers: Mapping[Channel, Carrier]) -> None:
        self._kit = kit
        self._carriers = carriers
        self._backoff = Backoff(first_s=2, factor=4, max_s=3600, attempts=settings.attempts)

    async def take_up(self) -> None:
        """At the start: what was kept for want of a way out is sent where there is one now; so is what a crash left."""
        now, channels = self._kit.clock.now(), [channel.value for channel in self._carriers]
        database = self._kit.units.database
        await database.write(lambda connection: store.release_kept(connection, channels, now))
        if database.exclusive:
            await database.write(lambda connection: store.release(connection, now))

    async def send_due(self) -> bool:
        """Send what is due; answers whether more may be."""
        database, now = self._kit.units.database, self._kit.clock.now()
        due = await database.write(lambda c: store.claim_due(c, now, limit=BATCH, lease=LEASE))
        if not due:
            return False
        orders = await database.glance(lambda c: store.known_orders(c, [n.order_id for n in due if n.order_id]))
        words = {**BUILT_IN, **await database.glance(store.custom_templates)}
        try:
            people = await self._people(due, orders)
        except Unavailable as error:
            log.info("recipients_unknown_for_now", reason=str(error))
            rows = [self._later(n, str(error), count=False) for n in due]
        else:
            rows = [await self._post(n, orders.get(n.order_id or ""), people, words) for n in due]
        await database.write(lambda connection: store.record(connection, rows))
        return len(due) == BATCH

    async def _post(
        self, queued: Notification, order: Any, people: Mapping[str, Person], words: Mapping[str, Template]
    ) -> dict[str, Any]:
        person = people.get(queued.order_id or "")
        customer_id = person.customer_id if person else (order.customer_id if order else queued.customer_id)
        recipient = queued.recipient or (person.address_for(queued.channel) if person else None)
        context = {
            **(order.details if order else {}),
            "order_id": queued.order_id,
            "name": person.name if person else None,
            **queued.context,
        }
        try:
            subject, body = render(words.get(queued.type, BUILT_IN["message"]), context)
        except Invalid as error:
            # Words that staff got wrong must not keep a customer waiting: the built-in ones always work.
            log.error("template_fails", template=queued.type, reason=error.detail)
            subject, body = render(BUILT_IN.get(queued.type, BUILT_IN["message"]), context)
        ready = replace(queued, subject=subject, body=body, customer_id=customer_id, recipient=recipient or customer_id)
        if recipient is None:
            return self._later(ready, NO_ADDRESS)
        return await self._hand_over(ready, recipient)

    async def _hand_over(self, ready: Notification, recipient: str) -> dict[str, Any]:
        carrier = self._carriers.get(ready.channel)
        if carrier is None:
            return _row(ready, NotificationStatus.QUEUED, None, f"kept: no way to send {ready.channel} is set")
        try:
            await carrier.send(Outgoing(ready.id, recipient, ready.subject or "", ready.body or ""))
        except SendNever as error:
            log.warning("notification_refused", notification_id=ready.id, reason=str(error))
            return _row(ready, NotificationStatus.FAILED, None, str(error))
        except SendLater as error:
            return self._later(ready, str(error))
        except Exception as error:
            log.exception("carrier_failed", notification_id=ready.id)
            return self._later(ready, type(error).__name__)
        return {**_row(ready, NotificationStatus.SENT, None, None), "sent_at": self._kit.clock.now()}

    def _later(self, queued: Notification, error: str, *, count: bool = True) -> dict[str, Any]:
        attempt = queued.attempts + 1
        delay_s = self._backoff.delay_s(attempt if count else 1, self._kit.ids.jitter())
        if delay_s is None:
            return _row(queued, NotificationStatus.FAILED, None, error)
        at = self._kit.clock.now() + timedelta(seconds=delay_s)
        return {**_row(queued, NotificationStatus.QUEUED, at, error), "attempts": attempt if count else queued.attempts}

    async def _people(self, due: Sequence[Notification], orders: Mapping[str, Any]) -> dict[str, Person]:
        """Whom each order's messages are for: what the order says itself, and for the rest what identity knows."""
        wanted = sorted({n.order_id for n in due if n.order_id and not n.recipient})
        if not wanted:
            return {}
        said = await self._ask("order", "order_id", wanted)
        people = {one["order_id"]: _person(one) for one in said}
        for order_id in wanted:
            if order_id not in people and order_id in orders:
                people[order_id] = Person(orders[order_id].customer_id, None, None, None)
        silent = sorted({person.customer_id for person in people.values() if person.email is None})
        known = {one["customer_id"]: _person(one) for one in await self._ask("identity", "user_id", silent)}
        return {order_id: _completed(person, known.get(person.customer_id)) for order_id, person in people.items()}

    async def _ask(self, service: str, parameter: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        query = "&".join(f"{parameter}={quote(id_, safe='')}" for id_ in ids)
        answer = await self._kit.peers.ask(service, "GET", "/contacts", query=query)
        if answer.status != 200:
            raise Unavailable(f"{service} does not say how to reach people")
        found: list[dict[str, Any]] = answer.json()
        return found


def _person(one: Mapping[str, Any]) -> Person:
    return Person(one["customer_id"], one["name"], one["email"], one["phone"])


def _completed(person: Person, known: Person | None) -> Person:
    if known is None:
        return person
    return Person(
        person.customer_id, person.name or known.name, person.email or known.email, person.phone or known.phone
    )


def _row(
    notification: Notification, status: NotificationStatus, next_attempt_at: datetime | None, error: str | None
) -> dict[str, Any]:
    return {
        "id": notification.id,
        "recipient": notification.recipient,
        "customer_id": notification.customer_id,
        "subject": notification.subject,
        "body": notification.body,
        "status": status.value,
        "attempts": notification.attempts,
        "next_attempt_at": next_attempt_at,
        "error": error,
        "sent_at": notification.sent_at,
    }
