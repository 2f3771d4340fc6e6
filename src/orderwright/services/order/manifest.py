"""The order service: takes orders, drives their saga, remembers their history."""

from collections.abc import Sequence
from pathlib import Path

from orderwright.contracts import orders
from orderwright.contracts.inventory import StockReservationFailed, StockReserved
from orderwright.kernel.batching import Gathered, Intake, pace_of_requests
from orderwright.kernel.errors import BusinessError, Conflict, Invalid, Unavailable
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.pace import Pace
from orderwright.services.order import store
from orderwright.services.order.api import router
from orderwright.services.order.api.awaited import AwaitedAnswers
from orderwright.services.order.api.changing import decide_cancellation
from orderwright.services.order.api.desk import OrderDesk, PaymentWish, load_orders
from orderwright.services.order.domain import Order
from orderwright.services.order.handlers import handlers
from orderwright.services.order.sagas import OrderSaga
from orderwright.services.order.settings import OrderSettings

UNDECIDED_EVERY_S = 30.0
WISHES_BUSY_PER_S = 80.0
WISHES_LINGER_S = 0.03
"""So long an order waits for company while so many come a second.

Those who waited together for payment's word are placed together, reserved together and answered together.
"""


def assemble(kit: Kit) -> Service:
    """The order service, ready to run."""
    settings = OrderSettings()
    saga = OrderSaga(settings, kit.platform.currency, kit.clock)
    wishes: Gathered[PaymentWish, None] = Gathered(
        lambda batch: hand_on_wishes(kit, batch),
        pace=Pace(kit.clock, busy_per_s=WISHES_BUSY_PER_S, linger_s=WISHES_LINGER_S, at_least_s=WISHES_LINGER_S),
    )
    asked_for: Gathered[str, Order | None] = Gathered(
        lambda order_ids: load_orders(kit, order_ids), pace=pace_of_requests(kit.clock)
    )
    desk = OrderDesk(
        kit, settings, saga, Intake(kit.units, saga.place, optimistic=True), AwaitedAnswers(), wishes, asked_for
    )

    async def drive_sagas() -> bool:
        return await kit.units.run(saga.drive) > 0

    async def decide_cancellations() -> bool:
        waiting = await kit.units.glance(lambda connection: store.undecided_cancellations(connection, limit=50))
        for order_id in waiting:
            try:
                await decide_cancellation(desk, order_id)
            except (Conflict, Unavailable):
                continue
        return False

    return Service(
        name="order",
        port=8001,
        summary="Takes orders from their acceptance to their end, and remembers how they got there.",
        migrations=Path(__file__).parent / "migrations",
        router=router(),
        desk=desk,
        consumes=handlers(saga, settings, desk.awaited.settle),
        urgent=(StockReserved, StockReservationFailed),
        optimistic=True,
        emits=orders.EVENTS,
        jobs=(
            Job("drive-sagas", drive_sagas, settings.drive_every_s),
            Job("decide-cancellations", decide_cancellations, UNDECIDED_EVERY_S),
        ),
    )


async def hand_on_wishes(kit: Kit, wishes: Sequence[PaymentWish]) -> Sequence[Exception | None]:
    """Tell payment how these orders are to be paid; whoever named a method that cannot be used learns why.

    Card numbers pass through here once, to the service that may see them, and are kept nowhere.
    """
    items = [
        {"order_id": wish.order_id, "customer_id": wish.customer_id, "payment_method": wish.method} for wish in wishes
    ]
    answer = await kit.peers.ask("payment", "POST", "/payment-methods", json={"items": items}, safe=True)
    if answer.status != 200:
        raise Unavailable("Payment cannot take the payment method at the moment")
    results = {result["order_id"]: result for result in answer.json()["results"]}
    return [_refusal(results[wish.order_id]) for wish in wishes]


def _refusal(result: dict[str, object]) -> BusinessError | None:
    if result["ok"]:
        return None
    errors = result.get("errors")
    return Invalid(
        str(result.get("detail", "The payment method cannot be used")),
        problem=str(result.get("problem", "invalid-payment-method")),
        errors=[
            {"loc": ["body", "payment_method", *error["loc"]], "msg": error["msg"]}
            for error in (errors if isinstance(errors, list) else [])
        ],
    )
