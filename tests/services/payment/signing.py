"""Webhooks as the sandbox sends them, or somebody who wants to be taken for it."""

import msgspec

from orderwright.kernel.testing import BenchAnswer, ServiceBench
from orderwright.services.payment.providers.sandbox_webhooks import sign

SECRET = "webhooks are signed with this"


def body_of(kind: str, **data: object) -> bytes:
    """A webhook's body."""
    return msgspec.json.encode({"type": kind, "data": data})


async def send(
    bench: ServiceBench,
    body: bytes,
    *,
    event_id: str = "evt-1",
    signed: bytes | None = None,
    secret: str = SECRET,
    age_s: int = 0,
    version: str = "v1",
) -> BenchAnswer:
    """Send `body`, signed as `signed` says (as it is by default)."""
    timestamp = str(int(bench.clock.now().timestamp()) - age_s)
    signature = sign(secret, event_id, timestamp, body if signed is None else signed)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,bm9uZQ== {version},{signature}",
    }
    return await bench.request("POST", "/webhooks/sandbox", body=body, headers=headers, roles=())
