"""Dead letters on the command line: the same desk as over HTTP, on the services' own databases.

It works beside a running platform or without one. A replay runs the handler here and now; what it says lies in the
outbox, and a running platform, or the next one that starts, sends it.
"""

import getpass
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from rich.table import Table

from orderwright.cli.console import open_console
from orderwright.cli.operate import chosen, opened, units_of
from orderwright.cli.plan import load
from orderwright.kernel.clock import rfc3339
from orderwright.kernel.deadletters import reading
from orderwright.kernel.deadletters.attempts import ALREADY_HANDLED
from orderwright.kernel.deadletters.desk import DETAILS, FAILED, DeadLetterDesk, Replayed
from orderwright.kernel.deadletters.reading import History, Selection
from orderwright.kernel.deadletters.states import EVERY, HANDLED, OPEN, RETRYING
from orderwright.kernel.errors import ConfigurationError, NotFound
from orderwright.kernel.handling import Handlers
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.peers import Peers
from orderwright.kernel.settings import PlatformSettings
from orderwright.services import SERVICES

PAGE = 100
WOULD = {HANDLED: "would be handled", FAILED: "would fail"}
"""What a dry run says; any other outcome is so already."""

# A console holds no state of ours; it is where this module prints.
console = open_console()


async def list_kept(
    service: str | None, *, state: str | None, topic: str | None, key: str | None, limit: int, before: str | None
) -> None:
    """Print kept messages, the newest first."""
    if state is not None and state not in EVERY:
        raise ConfigurationError(f"There is no state {state!r}; there are {', '.join(EVERY)}")
    selection = Selection((state,) if state else OPEN, topic, key)
    table = Table("service", "id", "state", "event", "topic", "key", "attempts", "since", "error", box=None)
    older: list[str] = []
    for name in chosen(service):
        async with opened(name) as database:
            query = partial(reading.listed, selection=selection, before=before, limit=limit)
            found = await database.read(query)
            for kept in found:
                event, since = reading.event_name(kept) or "?", rfc3339(kept.created_at)
                attempts, error = str(kept.attempts), kept.error[:120]
                table.add_row(name, kept.id, kept.state, event, kept.topic, kept.key, attempts, since, error)
        if len(found) == limit:
            older.append(f"There may be older ones: list {name} --before {found[-1].id}")
    console.print(table if table.row_count else "Nothing of that kind is kept.", *older, sep="\n")


async def show_kept(message_id: str) -> None:
    """Print one kept message with all that happened to it."""
    for name in SERVICES:
        async with opened(name) as database:
            try:
                history = await database.read(partial(reading.shown, message_id=message_id))
            except NotFound:
                continue
        _print_history(name, history)
        return
    raise NotFound(f"No service keeps a message {message_id}")


async def replay_kept(
    message_ids: Sequence[str],
    service: str | None,
    *,
    topic: str | None,
    key: str | None,
    every: bool,
    dry_run: bool,
    who: str | None,
) -> None:
    """Try dead letters again, the oldest of each service first, and print what came of each."""
    if sum((bool(message_ids), bool(topic or key), every)) != 1:
        raise ConfigurationError("Name the messages in one way: ids, or --topic and --key, or --all")
    someone = who or _os_user()
    replayed = 0
    for name in chosen(service):
        async with _desk(name) as desk:
            after: str | None = None
            while ids := await _these(desk, message_ids, topic, key, after):
                for message_id in ids:
                    _print_replayed(name, await desk.replay(message_id, who=someone, dry_run=dry_run), dry_run)
                replayed += len(ids)
                if message_ids:
                    break
                after = ids[-1]
    if message_ids and replayed < len(message_ids):
        raise NotFound(f"{len(message_ids) - replayed} of these messages are kept nowhere")
    if not replayed:
        console.print("There are no such dead letters.")


async def discard_kept(message_id: str, *, reason: str, who: str | None) -> None:
    """Never handle a message."""
    for name in SERVICES:
        async with _desk(name) as desk:
            try:
                history = await desk.discard(message_id, who=who or _os_user(), reason=reason)
            except NotFound:
                continue
        detail = f": {DETAILS[ALREADY_HANDLED]}" if history.kept.state == HANDLED else ""
        console.print(f"{message_id}  {name}  {history.acts[-1].outcome}{detail}", markup=False)
        return
    raise NotFound(f"No service keeps a message {message_id}")


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigurationError("This user has no name on this machine; say who you are with --as NAME") from None


async def _these(
    desk: DeadLetterDesk, message_ids: Sequence[str], topic: str | None, key: str | None, after: str | None
) -> list[str]:
    if not message_ids:
        return await desk.select(topic, key, after=after, limit=PAGE)
    here: list[str] = []
    for message_id in message_ids:
        try:
            await desk.shown(message_id)
        except NotFound:
            continue
        here.append(message_id)
    return here


@asynccontextmanager
async def _desk(name: str) -> AsyncIterator[DeadLetterDesk]:
    """The desk of one service, on its database."""
    async with opened(name) as database:
        units = units_of(name, database)
        clock, ids, feed = units.clock, units.ids, units.feed
        # Handlers ask nobody: they run inside a transaction.
        peers = Peers(lambda service: load(SERVICES[service]), clock, ids)
        service: Service = load(SERVICES[name])(Kit(PlatformSettings(), units, peers, clock, ids, feed))
        yield DeadLetterDesk(Handlers(service.consumes), units)


def _print_history(name: str, history: History) -> None:
    kept = history.kept
    lines = {
        "service": name,
        "state": kept.state,
        "event": reading.event_name(kept),
        "topic": kept.topic,
        "key": kept.key,
        "order": reading.order_id(kept),
        "trace": reading.trace_id(kept),
        "since": rfc3339(kept.created_at),
        "error": kept.error or None,
        "waits behind": history.waits_behind,
        "parked behind": str(history.waiting) if history.waiting else None,
    }
    if kept.state == RETRYING:
        lines["next attempt"] = rfc3339(kept.next_attempt_at)
    shown = [f"{label:<14}{value}" for label, value in lines.items() if value is not None]
    shown += [f"attempt {number:<6}{rfc3339(at)}  {error}" for number, at, error in history.attempts]
    for act in history.acts:
        reason = f" ({act.reason})" if act.reason else ""
        shown.append(f"{act.action:<14}{rfc3339(act.at)}  by {act.who}: {act.outcome}{reason}")
    shown += [f"  {header}: {value}" for header, value in sorted(kept.headers.items())]
    shown.append(kept.body.decode("utf-8", "replace"))
    console.print("\n".join(shown), markup=False)


def _print_replayed(name: str, replayed: Replayed, dry_run: bool) -> None:
    outcome = WOULD.get(replayed.outcome, replayed.outcome) if dry_run else replayed.outcome
    detail = f": {replayed.detail}" if replayed.detail else ""
    console.print(f"{replayed.id}  {name}  {outcome}{detail}", markup=False)
    for message in replayed.said:
        verb = "would say" if dry_run else "said"
        body = message.body.decode("utf-8", "replace")
        console.print(f"    {verb} {message.name} {message.key} {body}", markup=False)
