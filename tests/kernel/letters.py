"""A service that hears of products and of orders, notes in its database what it handled, and fails when it is told to.

What it notes is written in the handler's own transaction, so a handler that was rolled back has noted nothing.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from orderwright.contracts.catalog import ProductDeleted
from orderwright.contracts.inventory import StockUpdated
from orderwright.contracts.shipping import OrderDelivered
from orderwright.kernel.deadletters.desk import DeadLetterDesk
from orderwright.kernel.handling import Handlers
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.messages import Event, Message, Received
from orderwright.kernel.tables import kept_messages
from orderwright.kernel.testing import ServiceBench
from orderwright.kernel.unit import UnitOfWork

MIGRATIONS = Path("src/orderwright/services/catalog/migrations")
NAME = "catalog"
tables = sa.MetaData()
notes = sa.Table(
    "notes",
    tables,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("what", sa.String(300), nullable=False),
)


@dataclass(slots=True)
class Faults:
    """What goes wrong in the handlers of everybody who shares these."""

    of: dict[str, Exception] = field(default_factory=dict)
    """The error that is met by whatever is about a key, or about a key and a quantity (`mug 2`)."""
    met: list[str] = field(default_factory=list)


class Listener:
    """Hears levels and ends of products, and deliveries of orders; says of each level that its product is gone."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    @property
    def consumes(self) -> dict[type[Event], Callable[[Sequence[Received[Any]], UnitOfWork], None]]:
        return {StockUpdated: self.on_level, ProductDeleted: self.on_other, OrderDelivered: self.on_other}

    def assemble(self, kit: Kit) -> Service:
        return Service(
            name=NAME,
            port=0,
            summary="",
            migrations=MIGRATIONS,
            router=APIRouter(),
            desk=kit,
            consumes=self.consumes,
            emits=(ProductDeleted,),
        )

    def on_level(self, events: Sequence[Received[StockUpdated]], uow: UnitOfWork) -> None:
        for received in events:
            quantity = str(received.event.quantity)
            self._note(uow, received.event.product_id, quantity)
            uow.emit(ProductDeleted(product_id=received.event.product_id))

    def on_other(self, events: Sequence[Received[Any]], uow: UnitOfWork) -> None:
        for received in events:
            self._note(uow, received.event.key, received.message.topic)

    def _note(self, uow: UnitOfWork, key: str, what: str) -> None:
        uow.connection.execute(sa.insert(notes), {"key": key, "what": what})
        for fault in (key, f"{key} {what}"):
            if fault in self._faults.of:
                self._faults.met.append(fault)
                raise self._faults.of[fault]


def broken(why: str = "the warehouse is on fire") -> Exception:
    """An error that nobody planned for."""
    return RuntimeError(why)


def level(product_id: str, quantity: int = 1) -> StockUpdated:
    return StockUpdated(product_id=product_id, quantity=quantity)


@asynccontextmanager
async def listening(folder: Path, faults: Faults, *, seed: int = 0) -> AsyncIterator[ServiceBench]:
    """One process of the service; another one on the same databases is a replica."""
    async with ServiceBench.open(Listener(faults).assemble, NAME, folder, seed=seed) as bench:
        await bench.runtime.database.write(tables.create_all)
        yield bench


def desk_of(bench: ServiceBench) -> DeadLetterDesk:
    """The desk on which the service's own endpoints work."""
    desk: DeadLetterDesk = bench.runtime.api.state.dead_letters
    return desk


def own_desk(bench: ServiceBench, faults: Faults) -> DeadLetterDesk:
    """A desk of somebody's own on the same database, as the command line has it."""
    return DeadLetterDesk(Handlers(Listener(faults).consumes), bench.runtime.units)


async def noted(bench: ServiceBench, key: str | None = None) -> list[str]:
    """What was handled, in order: of one key, or of all with the keys."""
    rows = await bench.rows(sa.select(notes).order_by(notes.c.number))
    return [row["what"] if key else f"{row['key']} {row['what']}" for row in rows if key in (None, row["key"])]


async def kept(bench: ServiceBench) -> list[dict[str, Any]]:
    """What is kept, in the order in which it came."""
    return await bench.rows(sa.select(kept_messages).order_by(kept_messages.c.id))


async def states(bench: ServiceBench) -> list[tuple[str, str]]:
    """Key and state of what is kept."""
    return [(row["key"], row["state"]) for row in await kept(bench)]


async def until_dead(bench: ServiceBench, *events: Event) -> list[Message]:
    """Have these events heard, and tried until nobody tries them again."""
    messages = await bench.hear(*events)
    await give_up(bench)
    return messages


async def give_up(bench: ServiceBench) -> None:
    """Try what is kept as often as it is tried."""
    for _ in range(10):
        bench.clock.advance(400)
        await settle(bench)


async def settle(bench: ServiceBench) -> None:
    """Try what is due, and what that lets go, until nothing is due."""
    while await bench.retry_kept():
        bench.clock.advance(0)
