"""Answers to those who wait for their order's stock: given, and kept for repetitions, with the news that they wait for.

Invariant: the answer is stored in the transaction that decides it, so whoever is answered is answered so again. Of two
answers to one request, such as this one and that its patience was over, the one that is stored first counts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orderwright.kernel import idempotency
from orderwright.kernel.errors import BusinessError, Refused
from orderwright.kernel.idempotency import Answer, Claim
from orderwright.kernel.unit import UnitOfWork
from orderwright.kernel.web import json_answer, problem_answer
from orderwright.services.order.api.schemas import order_view
from orderwright.services.order.domain import CancelReason, Order, OrderStatus


class AwaitedAnswers:
    """The requests of this process that wait."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim | None] = {}

    @contextmanager
    def open(self, order_id: str, claim: Claim | None) -> Iterator[None]:
        """While this is entered somebody waits for the order, and has perhaps a claim to be answered once."""
        self._claims[order_id] = claim
        try:
            yield
        finally:
            del self._claims[order_id]

    def settle(self, uow: UnitOfWork, orders: Sequence[Order]) -> None:
        """Answer those who wait for one of these orders, if it is decided; they are told after the COMMIT."""
        kept: list[tuple[Claim, Answer]] = []
        for order in orders:
            if order.id not in self._claims or order.status is OrderStatus.PENDING:
                continue
            answer = answer_of(order)
            uow.tell(order.id, answer)
            # On SQLite this runs in a thread of its own, and the request may have gone away since.
            if (claim := self._claims.get(order.id)) is not None:
                kept.append((claim, answer))
        idempotency.store(uow.connection, kept)


def answer_of(order: Order) -> Answer:
    """What POST /orders answers about an order that stands like this."""
    if order.cancelled and order.cancel_reason == CancelReason.INSUFFICIENT_INVENTORY:
        return problem_answer(_no_stock(order))
    return json_answer(202 if order.status is OrderStatus.PENDING else 201, order_view(order))


def _no_stock(order: Order) -> BusinessError:
    detail = order.cancel_detail or "Insufficient inventory"
    return Refused(detail, problem="insufficient-inventory", extra={"order_id": order.id})
