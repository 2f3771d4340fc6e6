"""Safeguards of the real code that can be taken away, to see whether the simulation would notice.

Each ablation patches the real code for as long as it is entered; production code knows nothing of it. A safeguard that
stands behind another one is missed only when both are gone: such are listed in COMBINATIONS. What no run can miss is
listed in REDUNDANT, with the reason.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from msgspec.structs import replace

from orderwright.kernel import saga
from orderwright.kernel.consumer import Consumer
from orderwright.kernel.deadletters.states import DEAD, DISCARDED, HANDLED, RETRYING
from orderwright.kernel.idempotency import Fresh
from orderwright.kernel.relay import Relay
from orderwright.kernel.saga import Decision, SagaState, SagaStatus, Step
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.domain import Levels, Reservation, ReservationStatus
from orderwright.services.inventory.store import holdings, levels, moving
from orderwright.services.notification import store as notices
from orderwright.services.order.domain import Order
from orderwright.services.order.sagas import OrderSaga
from orderwright.services.payment.actions import terms
from orderwright.services.payment.actions.cashier import Cashier
from orderwright.services.payment.domain import Payment
from orderwright.services.payment.providers import Declined, Outcome, ProviderTimeout
from orderwright.services.payment.store import payments
from tests.simulation.disk import Disk
from tests.simulation.outside import Line
from tests.simulation.probes import TRACE
from tests.simulation.trace import Trace

Removed = Callable[[], AbstractContextManager[Any]]
ORDER, PAYMENT, INVENTORY = (f"orderwright.services.{name}" for name in ("order", "payment", "inventory"))


def _replaced(*replacements: tuple[str, Any]) -> Removed:
    """Removed by putting something else in the place of each name."""

    @contextmanager
    def removed() -> Iterator[None]:
        with ExitStack() as stack:
            for name, value in replacements:
                stack.enter_context(patch(name, value))
            yield

    return removed


def _accept_everything(connection: Any, messages: Sequence[Any], _now: Any, unless: str = "") -> list[Any]:
    if unless and connection.exec_driver_sql(unless).first() is not None:
        return []
    return list(messages)


def _nothing(*_: Any, **__: Any) -> None:
    """Done instead of what was to be done."""


def _no_claims(_uow: Any, claims: Sequence[Any]) -> list[Any]:
    return [Fresh() for _ in claims]


async def _acknowledge_first(self: Consumer) -> None:
    try:
        while deliveries := await self._next():
            assert self._subscription is not None
            await self._subscription.acknowledge(deliveries)
            await self._handle(deliveries)
    finally:
        await self._leave()


def _go_on_whatever_happened(saga_: saga.Saga, state: SagaState, step: Step) -> Decision:
    done = saga._with(state, step.name, status=saga.StepStatus.COMPLETED)
    return saga._go_on(saga_, done, completed=(step.name,))


def _forget_late_steps(saga_: saga.Saga, state: SagaState, step: Step) -> Decision:
    if state.status is not SagaStatus.RUNNING:
        return Decision(state, changed=False)
    return _go_on_whatever_happened(saga_, state, step)


def _never_ask_again(_self: OrderSaga, book: Any, order_id: str, state: SagaState) -> None:
    book.move(order_id, state, None)


def _fresh_keys() -> AbstractContextManager[Any]:
    """Whoever charges a payment again takes a new key."""
    original = Line.charge
    calls: WeakKeyDictionary[Trace, Counter[str]] = WeakKeyDictionary()

    async def charge(self: Line, key: str, token: str, amount_minor: int, currency: str) -> Outcome:
        trace = TRACE.get()
        assert trace is not None
        known = calls.setdefault(trace, Counter())
        known[key] += 1
        fresh = key if known[key] == 1 else f"{key[:-4]}{known[key]:04}"
        return await original(self, fresh, token, amount_minor, currency)

    return patch.object(Line, "charge", charge)


async def _never_heard_of(_self: Line, _key: str) -> None:
    return None


def _take_silence_for_a_no() -> AbstractContextManager[Any]:
    original = Cashier._attempt

    async def attempt(self: Cashier, payment: Any, ask: Any, **more: Any) -> Any:
        async def ask_once() -> Outcome:
            try:
                async with asyncio.timeout(more["timeout_s"]):
                    outcome: Outcome = await ask()
                    return outcome
            except (ProviderTimeout, TimeoutError):
                return Declined("no_answer")

        return await original(self, payment, ask_once, **more)

    return patch.object(Cashier, "_attempt", attempt)


def _stale_plans() -> AbstractContextManager[Any]:
    """Stock is planned on what was there a while ago, as it may be where reads take no lock."""
    seen: WeakKeyDictionary[Trace, dict[str, Any]] = WeakKeyDictionary()

    def available(connection: sa.Connection, product_ids: Any, *, lock: bool = False) -> Levels:
        wanted, trace = sorted(set(product_ids)), TRACE.get()
        assert trace is not None
        now = _available(connection, wanted, lock=lock)
        if not lock:
            # Nobody plans on it: it is told to the world.
            return now
        memory = seen.setdefault(trace, {"calls": 0})
        memory["calls"] += 1
        for product in wanted:
            if memory["calls"] % 3 == 1 or product not in memory:
                memory[product] = dict(now.by_product.get(product, {}))
            now.by_product[product] = dict(memory[product])
        return now

    return patch.object(levels, "available", available)


_available = levels.available


def _without_constraints() -> AbstractContextManager[Any]:
    original = Disk.set_back

    def set_back(self: Disk) -> None:
        original(self)
        self.driver.execute("PRAGMA ignore_check_constraints = ON")

    @contextmanager
    def removed() -> Iterator[None]:
        disks: list[Disk] = []

        def noted(self: Disk) -> None:
            disks.append(self)
            set_back(self)

        with patch.object(Disk, "set_back", noted):
            yield
        for disk in disks:
            disk.driver.execute("PRAGMA ignore_check_constraints = OFF")

    return removed()


def _agree_to_everything() -> AbstractContextManager[Any]:
    original = OrderSaga.decide_cancellation

    def decide(self: OrderSaga, uow: UnitOfWork, order_id: str, *, agreed: bool) -> Order:
        return original(self, uow, order_id, agreed=True)

    return patch.object(OrderSaga, "decide_cancellation", decide)


def _no_tombstones() -> AbstractContextManager[Any]:
    original = holdings.insert

    def insert(connection: sa.Connection, new: Sequence[Reservation]) -> None:
        original(connection, [one for one in new if one.status is ReservationStatus.RESERVED])

    return patch.object(holdings, "insert", insert)


def _keyless_news() -> AbstractContextManager[Any]:
    original = notices.insert

    def insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        original(connection, [{**row, "once": row["id"]} for row in rows])

    return patch.object(notices, "insert", insert)


def _hold_nothing(uow: UnitOfWork, order_id: str, _holder: str) -> Payment:
    return terms._pending(uow, order_id)


def _set_terms_of_whoever_asks(uow: UnitOfWork, order_id: str, _holder: str, amount_minor: int) -> Payment:
    changed = replace(terms._pending(uow, order_id), amount_minor=amount_minor)
    payments.save(uow.connection, [changed])
    return changed


async def _keep_no_answer(_intake: Any, _claim: Any, answer: Any) -> Any:
    return answer


async def _do_nothing(*_: Any) -> None:
    """Awaited instead of what was to be done."""


async def _sweep_nothing(self: Relay) -> None:
    self.problem = None


def _keep_the_money(_uow: Any, payment: Any, *, reason: str) -> Any:
    return payment


ABLATIONS: Mapping[str, Removed] = {
    "inbox check": _replaced(("orderwright.kernel.inbox.accept", _accept_everything)),
    "outbox in the transaction": _replaced(("orderwright.kernel.outbox.append", _nothing)),
    "outbox leases that end": _replaced(
        ("orderwright.kernel.outbox.LEASE_S", 10**8), ("orderwright.kernel.outbox.release_all", _nothing)
    ),
    "outbox rows that wait for a broker": _replaced(("orderwright.kernel.relay.Relay.sweep", _sweep_nothing)),
    "acknowledge after commit": _replaced(("orderwright.kernel.consumer.Consumer.run_forever", _acknowledge_first)),
    "Idempotency-Key claims": _replaced(("orderwright.kernel.idempotency.claim", _no_claims)),
    "stored answers wait for their lease": _replaced(("orderwright.kernel.idempotency.LEASE", timedelta(0))),
    "claims remember what the work came to": _replaced(("orderwright.kernel.idempotency.remember", _nothing)),
    "answers are kept": _replaced(
        ("orderwright.kernel.batching.Intake.store", _keep_no_answer),
        ("orderwright.kernel.idempotency.store", _nothing),
    ),
    "relay: sends before it ends": _replaced(("orderwright.kernel.relay.Relay.drain", _do_nothing)),
    "kept messages: tried again": _replaced(("orderwright.kernel.retries.Retries.run_due", _do_nothing)),
    "kept messages: followers wait": _replaced(
        ("orderwright.kernel.deadletters.lines.ANY_HELD", "SELECT 1 WHERE false")
    ),
    "kept messages: followers go on": _replaced(("orderwright.kernel.deadletters.lines.settle", _nothing)),
    "kept messages: replayed once": _replaced(
        ("orderwright.kernel.deadletters.desk.REPLAYABLE", (RETRYING, DEAD, DISCARDED, HANDLED))
    ),
    "saga: late steps are undone": _replaced(("orderwright.kernel.saga._complete", _go_on_whatever_happened)),
    "saga: late steps are heard": _replaced(("orderwright.kernel.saga._complete", _forget_late_steps)),
    "saga: undo is asked again": lambda: patch.object(OrderSaga, "_undo_again", _never_ask_again),
    "saga: steps time out": _replaced((f"{ORDER}.sagas.OrderSaga.drive", lambda *_, **__: 0)),
    "charge: one key a payment": _fresh_keys,
    "charge: the provider is asked first": lambda: patch.object(Line, "lookup", _never_heard_of),
    "charge: silence is no answer": _take_silence_for_a_no,
    "charge: late money goes back": _replaced((f"{PAYMENT}.actions.charges.refund_rest", _keep_the_money)),
    "charge: none while goods change": _replaced(
        (f"{PAYMENT}.actions.terms.hold", _hold_nothing),
        (f"{PAYMENT}.actions.terms.set_terms", _set_terms_of_whoever_asks),
    ),
    "stock: plans are fresh": _stale_plans,
    "stock: conditional update": lambda: patch.object(moving, "HOLDS", "true"),
    "stock: CHECK constraints": _without_constraints,
    "stock: cancelled before it was heard of": _no_tombstones,
    "stock: reservations expire": _replaced((f"{INVENTORY}.actions.settle.expire", lambda *_, **__: 0)),
    "shipping agrees to a cancellation": _agree_to_everything,
    "news have a key": _keyless_news,
}
COMBINATIONS: Sequence[tuple[str, ...]] = (
    ("charge: one key a payment", "charge: the provider is asked first"),
    ("saga: late steps are heard", "charge: late money goes back"),
    ("stock: plans are fresh", "stock: conditional update", "stock: CHECK constraints"),
    ("stock: cancelled before it was heard of", "stock: reservations expire"),
    ("outbox in the transaction", "saga: undo is asked again"),
)
REDUNDANT: Mapping[str, str] = {
    "answers are kept": "a repetition goes on from what the work came to, once the lease is over",
    "relay: sends before it ends": "the leases end, and another process sends it",
    "kept messages: replayed once": "the inbox knows the message",
    "saga: late steps are heard": "payment gives late money back by itself",
    "charge: late money goes back": "the saga hears of it and asks for the undo again",
    "charge: the provider is asked first": "charging again under the same key finds out as well",
    "saga: undo is asked again": "messages are never lost, so the first time is enough",
    "stock: conditional update": "transactions run one after the other here, so plans always hold",
    "stock: CHECK constraints": "the conditional update stands before them",
    "stock: cancelled before it was heard of": "what is set aside then expires",
    "stock: reservations expire": "an order's end lets go of its goods",
}
"""Missed by nobody when it alone is gone, and why."""
