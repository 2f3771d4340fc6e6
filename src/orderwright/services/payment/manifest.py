"""The payment service: one payment an order, charged once, refunded when it must be."""

from datetime import timedelta
from pathlib import Path

from orderwright.contracts import payments
from orderwright.kernel.batching import Intake
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.payment.actions import charges, housekeeping
from orderwright.services.payment.actions.alarms import Alarms
from orderwright.services.payment.actions.cashier import Cashier
from orderwright.services.payment.actions.mailroom import Mailroom
from orderwright.services.payment.api import router
from orderwright.services.payment.api.desk import PaymentDesk
from orderwright.services.payment.handlers import handlers
from orderwright.services.payment.providers import open_provider
from orderwright.services.payment.settings import PaymentSettings

LOOK_EVERY_S = 2.0
ALARM_EVERY_S = 15.0
BEGIN_LEFT_EVERY_S = 20.0
FORGET_EVERY_S = 3600.0


def assemble(kit: Kit) -> Service:
    """The payment service, ready to run."""
    settings = PaymentSettings()
    provider = open_provider(kit, settings)
    currency = kit.platform.currency
    cashier = Cashier(kit.units, provider, kit.clock, kit.ids, currency=currency)
    mailroom = Mailroom(kit.units, cashier, park_for=timedelta(minutes=settings.park_webhooks_minutes))
    alarms = Alarms(kit.units, kit.metrics, alarm_after=timedelta(minutes=settings.alarm_after_minutes))
    keeper = housekeeping.Housekeeping(kit.units, provider.name)
    counted = kit.metrics.counter(
        "orderwright_payment_webhooks_total", "Webhooks by what becomes of them", ("provider", "outcome")
    )
    return Service(
        name="payment",
        port=8002,
        summary="Takes money once, gives it back when it must, and asks when it does not know.",
        migrations=Path(__file__).parent / "migrations",
        router=router(),
        desk=PaymentDesk(kit, settings, provider, cashier, Intake(kit.units, charges.begin), counted),
        consumes=handlers(provider.name, currency),
        patience_s=0.1,
        emits=payments.EVENTS,
        jobs=(
            Job("charge", cashier.work_charges, LOOK_EVERY_S),
            Job("refund", cashier.work_refunds, LOOK_EVERY_S),
            Job("webhooks", mailroom.work, LOOK_EVERY_S),
            Job("alarms", alarms.look, ALARM_EVERY_S),
            Job("begin-left", keeper.begin_left, BEGIN_LEFT_EVERY_S),
            Job("forget", keeper.forget, FORGET_EVERY_S),
            *provider.jobs,
        ),
        notes=alarms.notes,
        on_start=(provider.start, cashier.take_up, mailroom.take_up),
        on_stop=(provider.close,),
    )
