"""What a run has reached: counts the hard states by listening to the real code, so that a quiet run cannot pass for a
thorough one.

Probes only look. Logs are counted too, and what no fault of ours can explain is kept for the judge.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

import structlog

from orderwright.kernel import idempotency, inbox, outbox, saga
from orderwright.kernel.deadletters import kept
from orderwright.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from orderwright.kernel.handling import Handlers
from orderwright.kernel.idempotency import Answer, Resume
from orderwright.kernel.messages import Received
from orderwright.services.payment.actions import refunds
from tests.simulation.trace import Trace

TRACE: ContextVar[Trace | None] = ContextVar("simulated_trace", default=None)
"""Where the run that is at work is told."""
Rows = Callable[..., Sequence[tuple[Any, ...]]]
"""Answers a plain SQL query on a service's database."""
ALARMS = frozenset({"unforeseen_error", "loop_failed", "job_failed", "provider_call_failed"})
"""Logs that only an outage may explain."""
ERRORS = frozenset({"shipped_although_cancelled", "cancelled_although_shipped", "captured_another_amount"})
"""Logs that nothing may explain."""

REACHED_OFTEN = (
    "duplicate dropped by the inbox",
    "fault: handler fails",
    "fault: crash after commit",
    "fault: crash before acknowledge",
    "fault: db commits and does not say so",
    "kept message tried again",
    "money came after the order was cancelled, and goes back",
    "outbox rows taken over",
    "request answered from its Idempotency-Key",
    "request cancelled while it was handled",
    "request resumed after its lease was taken over",
    "saga: abandoned while completed",
    "saga: everything undone",
    "saga: process_payment timed out",
    "saga: step completed after it was abandoned",
    "shipped",
    "stopped in good order",
)
"""Hard states that a hundred seeds reach; a batch that does not has become too quiet."""
REACHED_SELDOM = (
    "cancellation refused",
    "dead letter replayed: handled",
    "fault: crash in a provider call",
    "fault: provider does not answer",
    "goods of an order changed",
    "message parked behind a kept one",
    "refunded by staff: all",
    "refunded by staff: a part",
    "saga: reserve_inventory timed out",
    "saga: undo asked for again",
    "unknown charge resolved by asking the provider",
)
"""And those for which it takes a thousand."""


def reach(state: str, times: int = 1) -> None:
    """Count a state of the run that is at work."""
    trace = TRACE.get()
    if trace is not None and times:
        trace.reach(state, times)


def handled(service: str, message: str) -> None:
    """A service has committed what it did with a message."""
    trace = TRACE.get()
    if trace is not None:
        trace.handled[service, message] += 1


def overtaken(service: str, rows: Rows, handlers: Handlers, events: Sequence[Received[Any]]) -> None:
    """Note who is being handled while an earlier message of their line is kept, and is not kept themselves."""
    trace = TRACE.get()
    for one in events:
        key, about = one.message.key, handlers.about(one.message.topic)
        kept = rows("SELECT event_id, state, holds FROM kept_messages WHERE key = ? AND about = ?", key, about)
        if trace is None or one.message.id in {event_id for event_id, *_ in kept}:
            continue
        if any(holds and state in {"retrying", "dead"} for _, state, holds in kept):
            trace.overtaken.append(f"{service} handled {one.message.topic} of {key} before what came earlier")


@contextmanager
def watching() -> Iterator[None]:
    """Have the probes listen."""
    with ExitStack() as stack:
        _after(stack, "orderwright.kernel.inbox.accept", inbox.accept, _inbox)
        _after(stack, "orderwright.kernel.idempotency._verdict_on_known", idempotency._verdict_on_known, _verdict)
        _after(stack, "orderwright.kernel.outbox.claim", outbox.claim, _taken_over)
        _after(stack, "orderwright.kernel.deadletters.kept.claim_due", kept.claim_due, _tried_again)
        _after(stack, "orderwright.kernel.deadletters.kept.park", kept.park, _parked)
        again = saga.SagaState.with_undo_asked_again
        _after(stack, "orderwright.kernel.saga.SagaState.with_undo_asked_again", again, _undo_again)
        _after(stack, "orderwright.services.order.sagas.advance", saga.advance, _saga)
        _after(stack, "orderwright.services.payment.actions.charges.refund_rest", refunds.refund_rest, _late_money)
        stack.callback(structlog.configure, **structlog.get_config())
        structlog.configure(processors=[_count_log], wrapper_class=structlog.make_filtering_bound_logger(20))
        yield


def _after(stack: ExitStack, place: str, original: Callable[..., Any], look: Callable[..., None]) -> None:
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        look(result, *args)
        return result

    stack.enter_context(patch(place, looked_at))


def _inbox(fresh: Any, _connection: Any, messages: Any, _now: Any, unless: str = "") -> None:
    if unless and not fresh:  # perhaps somebody is held up: it is asked again for those who are not
        return
    reach("duplicate dropped by the inbox", len(messages) - len(fresh))


def _taken_over(claimed: Any, *_: Any) -> None:
    reach("outbox rows taken over", len(claimed))


def _tried_again(kept: Any, *_: Any) -> None:
    reach("kept message tried again", len(kept))


def _parked(_: Any, _connection: Any, messages: Any) -> None:
    reach("message parked behind a kept one", len(messages))


def _undo_again(*_: Any) -> None:
    reach("saga: undo asked for again")


def _verdict(verdict: Any, *_: Any) -> None:
    if isinstance(verdict, Resume):
        reach("request resumed after its lease was taken over")
    elif isinstance(verdict, Answer):
        reach("request answered from its Idempotency-Key")
    else:
        reach("request refused by its Idempotency-Key")


def _saga(decision: saga.Decision, _saga: Any, before: saga.SagaState, signal: Any) -> None:
    if not decision.changed:
        reach("saga: late or repeated signal ignored")
    elif isinstance(signal, saga.TimedOut):
        reach(f"saga: {signal.step} timed out")
    elif isinstance(signal, saga.Abandon):
        reach("saga: abandoned while " + before.status.value)
    elif decision.completed and before.status is not saga.SagaStatus.RUNNING:
        reach("saga: step completed after it was abandoned")
    elif decision.state.status is saga.SagaStatus.COMPENSATED:
        reach("saga: everything undone")


def _late_money(*_: Any) -> None:
    reach("money came after the order was cancelled, and goes back")


def _count_log(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    name, trace = str(event["event"]), TRACE.get()
    if trace is not None:
        trace.reach(f"log: {name}")
        if name in ALARMS:
            _alarm(trace, name, event)
        elif name in ERRORS:
            trace.say("alarm", f"{name} {event.get('order_id', '')}")
            trace.reach(f"alarm: {name}")
    raise structlog.DropEvent


def _alarm(trace: Trace, name: str, event: MutableMapping[str, Any]) -> None:
    if "error" in event:
        known = ("DatabaseUnavailable", "BrokerUnavailable")
        if not str(event["error"]).startswith(known):
            trace.say("alarm", f"{name}: {event['error']}")
            trace.reach(f"alarm: {name}: {event['error']}")
        return
    error = _innermost()
    if not isinstance(error, DatabaseUnavailable | BrokerUnavailable | None):
        where = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
        said = str(error).partition("\n")[0]
        told = f"{name}: {type(error).__name__}: {said} ({where and where.name})"
        trace.say("alarm", told)
        trace.reach(f"alarm: {told}")


def _innermost() -> BaseException | None:
    """The exception that is being handled, out of the groups around it."""
    error = sys.exc_info()[1]
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error
