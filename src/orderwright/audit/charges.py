"""Our books and the provider's: for every key under which money was asked for, both say the same.

Only the sandbox's books can be read; a real provider's are compared through its own reports. Invariant: a charge whose
outcome we do not know yet is no difference, because it is asked of the provider until it is known.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from orderwright.audit.books import SANDBOX, Books
from orderwright.audit.checks import Moment, Settling, Suspect, mark_of
from orderwright.audit.findings import Finding
from orderwright.audit.paging import IDS_AT_ONCE, pages_by_key
from orderwright.kernel.rows import among
from orderwright.services.payment.providers.sandbox import CAPTURED, charges
from orderwright.services.payment.providers.sandbox import refunds as given_back
from orderwright.services.payment.tables import payments, refunds

_p = payments.c
_PAYMENTS: Final = sa.select(
    *(_p.id, _p.order_id, _p.status, _p.provider, _p.currency, _p.captured_minor, _p.promised_minor),
    *(_p.refunded_minor, _p.updated_at),
).where(among(_p.id, "keys"))
_KNOWN: Final = sa.select(_p.id).where(among(_p.id, "keys"))
_REFUNDS: Final = sa.select(
    refunds.c.payment_id, refunds.c.id, refunds.c.amount_minor, refunds.c.status, refunds.c.updated_at
).where(among(refunds.c.payment_id, "keys"))
_CHARGES: Final = sa.select(charges).where(among(charges.c.key, "keys"))
_GIVEN_BACK: Final = sa.select(
    given_back.c.charge_key, given_back.c.key, given_back.c.amount_minor, given_back.c.at
).where(among(given_back.c.charge_key, "keys"))


@dataclass(slots=True)
class Account:
    """One key, as we and the provider know it."""

    key: str
    payment: Any = None
    refunds: list[Any] = field(default_factory=list)
    charge: Any = None
    given_back: list[Any] = field(default_factory=list)

    @property
    def order_id(self) -> str | None:
        return None if self.payment is None else str(self.payment.order_id)

    def finding(self, kind: str, detail: str) -> Finding:
        """Something found about this key."""
        return Finding(kind, f"payment {self.key}", detail, self.order_id)


class ChargeCheck:
    """Judges payments against the provider's books, and against their own refunds."""

    name = "charges"
    settling = Settling.SOON

    def __init__(self, books: Books, *, page: int) -> None:
        self._books = books
        self._page = page

    async def pages(self, moment: Moment) -> AsyncIterator[Sequence[str]]:
        ours = sa.select(_p.id).where(_p.created_at <= moment.now)
        async for page in pages_by_key(self._books, "payment", _p.id, ours, self._page):
            yield [row[0] for row in page]
        if not self._books.provider_known:
            return
        theirs = sa.select(charges.c.key).where(charges.c.at <= moment.now)
        async for page in pages_by_key(self._books, SANDBOX, charges.c.key, theirs, self._page * IDS_AT_ONCE):
            keys = {row[0] for row in page}
            yield sorted(keys - await self._ours(keys))

    async def look(self, ids: Sequence[str], moment: Moment) -> list[Suspect]:
        accounts = await self._accounts(ids)
        suspects: list[Suspect] = []
        for account in accounts:
            if _moved_since(account, moment):
                continue
            findings = (*_own_sums(account), *(_provider(account) if self._books.provider_known else ()))
            if findings:
                mark = mark_of(account.payment, sorted(account.refunds), account.charge, sorted(account.given_back))
                suspects.append(Suspect(account.key, mark, findings))
        return suspects

    async def _ours(self, keys: set[str]) -> set[str]:
        given = {"keys": sorted(keys)}
        return set(
            await self._books.read("payment", lambda connection: connection.execute(_KNOWN, given).scalars().all())
        )

    async def _accounts(self, keys: Sequence[str]) -> list[Account]:
        found = {key: Account(key) for key in keys}
        given = {"keys": list(keys)}

        def ours(connection: sa.Connection) -> None:
            for row in connection.execute(_PAYMENTS, given):
                found[row.id].payment = row
            for row in connection.execute(_REFUNDS, given):
                found[row.payment_id].refunds.append(row)

        def theirs(connection: sa.Connection) -> None:
            for row in connection.execute(_CHARGES, given):
                found[row.key].charge = row
            for row in connection.execute(_GIVEN_BACK, given):
                found[row.charge_key].given_back.append(row)

        await self._books.read("payment", ours)
        if self._books.provider_known:
            await self._books.read(SANDBOX, theirs)
        return list(found.values())


def _moved_since(account: Account, moment: Moment) -> bool:
    times = [row.updated_at for row in (account.payment, *account.refunds) if row is not None]
    times += [row.at for row in (account.charge, *account.given_back) if row is not None]
    return max(times, default=moment.settled_before) > moment.settled_before


def _own_sums(account: Account) -> Iterator[Finding]:
    payment = account.payment
    if payment is None:
        return
    decided = sum(refund.amount_minor for refund in account.refunds)
    done = sum(refund.amount_minor for refund in account.refunds if refund.status == "done")
    if (decided, done) != (payment.promised_minor, payment.refunded_minor):
        yield account.finding(
            "refund_sums",
            f"its refunds come to {decided} minor units, {done} of them done; the payment says "
            f"{payment.promised_minor} and {payment.refunded_minor}",
        )


def _provider(account: Account) -> Iterator[Finding]:
    payment, charge = account.payment, account.charge
    taken = charge.amount_minor if charge is not None and charge.outcome == CAPTURED else 0
    if payment is None:
        if taken:
            yield account.finding("charge_unknown", f"the provider took {taken} minor units of {charge.currency}")
        return
    if payment.provider != SANDBOX or payment.status in {"charging", "unknown"}:
        return
    if payment.captured_minor != taken or (taken and charge.currency != payment.currency):
        yield account.finding(
            "charge_differs", f"ours: {payment.captured_minor} minor units; the provider's: {taken} ({payment.status})"
        )
    # A refund that is pending here may be done there; one that is done here must be done there.
    there = {row.key: row.amount_minor for row in account.given_back}
    ours = {row.id: row.amount_minor for row in account.refunds}
    missing = [r.id for r in account.refunds if r.status == "done" and there.get(r.id) != r.amount_minor]
    strange = [key for key, amount in there.items() if ours.get(key) != amount]
    if missing or strange:
        yield account.finding(
            "refund_differs",
            f"not as ours at the provider: {', '.join(missing) or 'none'}; not as theirs here: "
            f"{', '.join(strange) or 'none'}",
        )
