"""What keeps streams short and groups tidy, now and then and for all processes.

Invariants: an entry is removed only when every group has acknowledged it, and not while it is young. A consumer is
removed only when nothing is pending with it, which Redis decides in the same step, because what is pending with a
removed consumer is lost.
"""

from collections.abc import Collection, Sequence
from typing import Any

import structlog

from orderwright.kernel.brokers.redis.connection import Command, Link, granted, refused
from orderwright.kernel.brokers.redis.entries import age, pairs

log = structlog.get_logger(__name__)

EVERY_S = 60.0
FORSAKEN_MS = 86_400_000
"""Idle for a day: a consumer that nobody runs any more. What a closing consumer leaves is marked as that old."""
MANY = 1_000_000
LEAVE = """
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local one = {}
    for at = 1, #flat, 2 do one[flat[at]] = flat[at + 1] end
    local goes = one.name == ARGV[2] or (ARGV[2] == '' and one.idle > tonumber(ARGV[3]))
    if goes and one.pending == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one.name) end
end
"""


def leaving(stream: bytes, group: str | bytes, consumer: str) -> Command:
    """Remove this consumer, or with no name all that are idle for a day, where nothing is pending with them."""
    return (b"EVAL", LEAVE, 1, stream, group, consumer, FORSAKEN_MS)


async def lease(link: Link, streams: Collection[bytes]) -> list[bytes]:
    """Those of `streams` that no other process looks after at the moment; it leaves them to us for a while."""
    ms = round(EVERY_S * 800)
    replies = await link.run([(b"SET", stream + b"~upkeep", b"1", b"NX", b"PX", ms) for stream in streams])
    return [stream for stream, reply in zip(streams, replies, strict=True) if reply in {b"OK", "OK"}]


async def trim(link: Link, streams: Sequence[bytes], keep_s: float) -> None:
    """Remove what is older than `keep_s` and needed by no group, and consumers that are gone. BrokerUnavailable."""
    time, *infos = await link.run([(b"TIME",), *((b"XINFO", b"GROUPS", stream) for stream in streams)])
    seconds, microseconds = granted(time)
    young = (max(0, int(seconds) * 1000 + int(microseconds) // 1000 - round(keep_s * 1000)), 0)
    for stream, info in zip(streams, infos, strict=True):
        if not refused(info):  # there is no such stream at present
            await _trim_one(link, stream, [pairs(flat) for flat in info], young)


async def _trim_one(link: Link, stream: bytes, groups: Sequence[dict[bytes, Any]], young: tuple[int, int]) -> None:
    names = [group[b"name"] for group in groups]
    replies = await link.run([(b"XPENDING", stream, name) for name in names]) if names else []
    needed = {name: age(group[b"last-delivered-id"]) for name, group in zip(names, groups, strict=True)}
    for name, reply in zip(names, replies, strict=True):
        if refused(reply):  # the group has gone meanwhile; the next time it is not asked
            return
        # Asked after the last delivery: what was pending then and is not now has been acknowledged.
        _, oldest, *_ = reply
        needed[name] = min(needed[name], age(oldest)) if oldest else needed[name]
    ms, number = min([young, *needed.values()])
    _, length, *_ = await link.run(
        [
            # Without LIMIT 0 it removes at most 10,000, and a busy stream would grow for ever.
            (b"XTRIM", stream, b"MINID", b"~", f"{ms}-{number}", b"LIMIT", 0),
            (b"XLEN", stream),
            *(leaving(stream, name, "") for name in names),
        ]
    )
    if granted(length) > MANY:
        laggard = min(needed, key=lambda name: needed[name], default=b"nobody")
        log.warning(
            "stream_grows",
            stream=stream.decode(errors="replace"),
            entries=length,
            waits_for=laggard.decode(errors="replace"),
            advice="start that group's consumers, or remove it with XGROUP DESTROY if nobody needs it",
        )


async def look_at_settings(link: Link) -> None:
    """Warn of a server that may forget. One that does not tell is believed."""
    names = (b"maxmemory-policy", b"appendonly")
    replies = await link.run([(b"CONFIG", b"GET", name) for name in names])
    policy, appending = (b"" if refused(reply) or not reply else reply[1] for reply in replies)
    if policy.startswith(b"allkeys"):
        log.warning("redis_may_evict", maxmemory_policy=policy.decode(), advice="set maxmemory-policy noeviction")
    if appending == b"no":
        log.warning("redis_may_forget", appendonly="no", advice="set appendonly yes; see appendfsync")
