"""What the payment service's endpoints work with, and the questions that they share."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import Counter

from orderwright.kernel.auth import Caller
from orderwright.kernel.batching import Intake
from orderwright.kernel.errors import Invalid, NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.manifest import Kit
from orderwright.services.payment.actions.cashier import Cashier
from orderwright.services.payment.actions.charges import Begin
from orderwright.services.payment.api.schemas import CardBody, TokenBody
from orderwright.services.payment.domain import Payment, checked_card
from orderwright.services.payment.providers import PaymentProvider, Token
from orderwright.services.payment.settings import PaymentSettings
from orderwright.services.payment.store import payments as kept


@dataclass(frozen=True, slots=True)
class PaymentDesk:
    """The tools of the endpoints."""

    kit: Kit
    settings: PaymentSettings
    provider: PaymentProvider
    cashier: Cashier
    intake: Intake[Begin, dict[str, str]]
    webhooks_counted: Counter
    """Webhooks by provider and what becomes of them."""

    @property
    def overdue_before(self) -> datetime:
        """What has no outcome since before then is overdue."""
        return self.kit.clock.now() - timedelta(minutes=self.settings.alarm_after_minutes)

    async def payment(self, payment_id: str) -> Payment:
        """The payment of that id. NotFound when there is none, or nothing is known of it yet."""
        ids = [payment_id] if is_uuid(payment_id) else []
        found = (await self.kit.units.glance(lambda connection: kept.by_id(connection, ids))).get(payment_id)
        if found is None or not found.known:
            raise NotFound("There is no such payment")
        return found

    async def of_order(self, order_id: str) -> Payment | None:
        """The order's payment, if anything is known of it."""
        return (await self.kit.units.glance(lambda connection: kept.by_order(connection, [order_id]))).get(order_id)

    async def own_payment(self, payment_id: str, caller: Caller) -> Payment:
        """The payment of that id, if it is the caller's to see."""
        payment = await self.payment(payment_id)
        if not caller.may_act_for(payment.customer_id or ""):
            raise NotFound("There is no such payment")
        return payment

    async def token_for(self, method: CardBody | TokenBody) -> Token:
        """What the provider gives for a method. Invalid when it cannot be used; the card is forgotten here."""
        if isinstance(method, TokenBody):
            return self.provider.describe(method.token)
        if not self.provider.accepts_cards:
            raise Invalid(f"{self.provider.name} takes no card numbers; send a token", problem="card-data-not-accepted")
        card = checked_card(method.card_number, method.expiry, method.cvv, self.kit.clock.now())
        [token] = await self.provider.tokenize([card])
        return token


async def _desk(request: Request) -> PaymentDesk:
    desk: PaymentDesk = request.app.state.desk
    return desk


Desk = Annotated[PaymentDesk, Depends(_desk)]
