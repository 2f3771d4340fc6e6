"""The payment service: one payment an order, charged once, refunded when it must be."""

from datetime import timedelta
from pathlib import Path

from orderwright.contracts import payments
from orderwright.kernel.batching import Intake
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.payment import store
from orderwright.services.payment.actions import charges
from orderwright.services.payment.actions.cashier import Cashier
from orderwright.services.payment.api import router
from orderwright.services.payment.api.desk import PaymentDesk
from orderwright.services.payment.handlers import handlers
from orderwright.services.payment.providers import open_provider
from orderwright.services.payment.settings import PaymentSettings

LOOK_EVERY_S = 2.0
FORGET_EVERY_S = 3600.0
METHODS_LIVE = timedelta(days=7)


def assemble(kit: Kit) -> Service:
    """The payment service, ready to run."""
    settings = PaymentSettings()
    provider = open_provider(kit, settings)
    currency = kit.platform.currency
    alarm_after = timedelta(minutes=settings.alarm_after_minutes)
    cashier = Cashier(kit.units, provider, kit.clock, kit.ids, currency=currency, alarm_after=alarm_after)

    async def forget_methods() -> bool:
        before = kit.clock.now() - METHODS_LIVE
        return await kit.units.database.write(lambda connection: store.forget_methods(connection, before)) > 0

    return Service(
        name="payment",
        port=8002,
        summary="Takes money once, gives it back when it must, and asks when it does not know.",
        migrations=Path(__file__).parent / "migrations",
        router=router(),
        desk=PaymentDesk(kit, settings, provider, cashier, Intake(kit.units, charges.begin)),
        consumes=handlers(provider.name, currency),
        emits=payments.EVENTS,
        jobs=(
            Job("charge", cashier.work_charges, LOOK_EVERY_S),
            Job("refund", cashier.work_refunds, LOOK_EVERY_S),
            Job("forget-methods", forget_methods, FORGET_EVERY_S),
        ),
        on_start=(provider.start, cashier.take_up),
        on_stop=(provider.close,),
    )
