"""What is in the services' databases, read past every proxy.

Invariant: only reads; what it cannot read yet it says, and is asked again.
"""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from orderwright.audit.books import AUDITED

OPEN: Final = {
    "orders under way": ("order", "SELECT count(*) FROM order_sagas WHERE status IN ('running', 'compensating')"),
    "refunds under way": ("payment", "SELECT count(*) FROM refunds WHERE status = 'pending'"),
    "charges under way": ("payment", "SELECT count(*) FROM payments WHERE status = 'charging'"),
    **{f"events to be sent by {name}": (name, "SELECT count(*) FROM outbox") for name in AUDITED},
    **{
        f"messages to be tried again by {name}": (
            name,
            "SELECT count(*) FROM kept_messages WHERE state = 'retrying'",
        )
        for name in AUDITED
    },
}
"""What has to be 0 when the platform is at rest."""


async def rows(url: str, service: str, query: str) -> Sequence[Any]:
    """What a service's database answers."""
    connection = await asyncpg.connect(f"{url}_{service}", timeout=10)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def still_open(url: str) -> dict[str, int]:
    """What is under way, and how much of it."""
    found: dict[str, int] = {}
    for what, (service, query) in OPEN.items():
        [row] = await rows(url, service, query)
        if row[0]:
            found[what] = row[0]
    return found
