"""The outside world that takes the money, behind one Protocol; and the table of who is behind it.

The contract of a provider, held by the conformance tests for each: every call carries a key that was made before it;
the same key never moves money twice; after a call without an answer, `lookup` and `lookup_refund` tell what became of
it. Whatever a call raises that is not ProviderUnavailable is taken for no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

from orderwright.kernel.errors import ConfigurationError, OrderwrightError
from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit
from orderwright.services.payment.domain import Card
from orderwright.services.payment.settings import PaymentSettings

PROVIDERS = {
    "sandbox": "orderwright.services.payment.providers.sandbox:open_sandbox",
}


class ProviderTimeout(OrderwrightError):
    """No answer came; the money may have moved or not."""


class ProviderUnavailable(OrderwrightError):
    """The provider refused to try; no money has moved."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The money was taken; the amount is the provider's own word."""

    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The money will not come; `code` says why, in the provider-neutral words of the documentation."""

    code: str


Outcome = Captured | Declined


@dataclass(frozen=True, slots=True)
class Token:
    """What a provider gives for a card: all that is ever kept of it."""

    token: str = field(repr=False)
    brand: str | None
    last4: str | None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A provider's hint that something became of a charge or a refund. It is never believed, only followed up.

    One that names neither is of a type that we have no use for.
    """

    id: str
    charge_key: str | None
    type: str = ""
    refund_key: str | None = None
    captured: bool | None = None
    """Whether it says that money was taken; None when it says nothing of that."""
    amount_minor: int | None = None
    currency: str | None = None


class PaymentProvider(Protocol):
    """Somebody who takes money."""

    name: str
    accepts_cards: bool
    """Only the sandbox does: card numbers belong on a real provider's own page."""
    calls_at_once: int
    """How many calls its terms allow to be on their way at the same time, from each process of ours."""
    jobs: tuple[Job, ...]
    """What it does on a schedule, as the sandbox sends its webhooks; most have nothing to do."""

    async def tokenize(self, cards: Sequence[Card]) -> Sequence[Token]:
        """Tokens for cards, in their order."""

    def describe(self, token: str) -> Token:
        """What may be shown of a token that a client brought along. Invalid when it is none of this provider's."""

    async def charge(self, key: str, token: str, amount_minor: int, currency: str) -> Outcome:
        """Take the money, once for `key`. ProviderTimeout when the outcome is unknown; ProviderUnavailable."""

    async def lookup(self, key: str) -> Outcome | None:
        """What became of the charge under `key`; None when it never arrived."""

    async def refund(self, key: str, charge_key: str, amount_minor: int) -> None:
        """Give money back, once for `key`. ProviderTimeout; ProviderUnavailable."""

    async def lookup_refund(self, key: str) -> int | None:
        """How many minor units went back under `key`; None when it never arrived."""

    def read_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """The event in a webhook. Unauthenticated when it was not signed by this provider just now; Invalid when it
        was, and cannot be read.
        """

    async def start(self) -> None:
        """Get ready."""

    async def close(self) -> None:
        """Let go of everything."""


def open_provider(kit: Kit, settings: PaymentSettings) -> PaymentProvider:
    """The provider that the settings name. ConfigurationError for one that nobody is behind."""
    try:
        module, _, name = PROVIDERS[settings.provider].partition(":")
    except KeyError:
        known = ", ".join(sorted(PROVIDERS))
        raise ConfigurationError(f"There is no payment provider {settings.provider!r}; known are {known}") from None
    provider: PaymentProvider = getattr(import_module(module), name)(kit, settings)
    return provider
