"""How much a group has still to acknowledge of its streams: what is pending with its consumers, and what none has read.

Invariant: nothing is changed or made by asking. The server's own counter of what is unread is missing where entries
were deleted by hand; then they are counted.
"""

from collections.abc import Sequence
from typing import Any

from orderwright.kernel.brokers.redis.connection import Link, granted, refused
from orderwright.kernel.brokers.redis.entries import age, pairs

PAGE = 1000
BEGINNING = b"0-0"


async def count(link: Link, group: str, streams: Sequence[bytes]) -> int:
    """Entries of `streams` that `group` has not acknowledged. BrokerUnavailable."""
    replies = await link.run([(b"XINFO", b"GROUPS", stream) for stream in streams])
    total = 0
    for stream, reply in zip(streams, replies, strict=True):
        if refused(reply, because="no such key"):
            continue
        infos = [pairs(flat) for flat in granted(reply)]
        # A group that is not there would begin with the oldest entry.
        absent: dict[bytes, Any] = {b"last-delivered-id": BEGINNING}
        info = next((info for info in infos if info[b"name"] == group.encode()), absent)
        total += info.get(b"pending", 0) + await _unread(link, stream, info)
    return total


async def _unread(link: Link, stream: bytes, info: dict[bytes, Any]) -> int:
    delivered = info[b"last-delivered-id"]
    [newest] = await link.run([(b"XREVRANGE", stream, b"+", b"-", b"COUNT", 1)])
    if not granted(newest) or age(newest[0][0]) <= age(delivered):
        return 0
    lag = info.get(b"lag")
    return int(lag) if lag else await _counted(link, stream, delivered)


async def _counted(link: Link, stream: bytes, after: bytes) -> int:
    total = 0
    while True:
        [reply] = await link.run([(b"XRANGE", stream, b"(" + after, b"+", b"COUNT", PAGE)])
        entries = granted(reply)
        if not entries:
            return total
        total, after = total + len(entries), entries[-1][0]
