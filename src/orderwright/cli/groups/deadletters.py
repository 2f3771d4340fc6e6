"""`orderwright dead-letters …`: messages that could not be handled."""

from typing import Annotated

from cyclopts import App, Parameter

dead_letters = App(
    name="dead-letters", help="Messages that could not be handled: look at them, try them again, or let them be."
)


@dead_letters.command(name="list")
async def list_dead_letters(
    service: Annotated[str | None, Parameter(help="One service; all of them when left out")] = None,
    *,
    topic: str | None = None,
    key: str | None = None,
    state: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> None:
    """List messages that are still to be handled: dead, tried again, or parked behind one of these.

    Parameters
    ----------
    topic
        Only of that topic.
    key
        Only with that key: an order's id, a product's id, ….
    state
        Only dead, retrying or parked; handled and discarded are those that somebody has settled.
    limit
        How many of each service, the newest first.
    before
        Only what is older than the message with this id, to go on where a list ended.
    """
    from orderwright.cli.deadletters import list_kept

    await list_kept(service, state=state, topic=topic, key=key, limit=limit, before=before)


@dead_letters.command
async def show(message_id: str) -> None:
    """Show one: the event, the order, the trace, every attempt and its error, and what people did to it."""
    from orderwright.cli.deadletters import show_kept

    await show_kept(message_id)


@dead_letters.command
async def replay(
    *message_ids: str,
    service: Annotated[str | None, Parameter(help="One service; all of them when left out")] = None,
    topic: str | None = None,
    key: str | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_: Annotated[str | None, Parameter(name="--as")] = None,
) -> None:
    """Try dead letters again, now. What fails again stays a dead letter; replaying one twice handles it once.

    Parameters
    ----------
    message_ids
        Which ones; or use --topic, --key or --all.
    topic
        Every dead letter of that topic.
    key
        Every dead letter with that key.
    all_
        Every dead letter.
    dry_run
        Only tell what would happen: the handler runs in a transaction that is rolled back.
    as_
        Who does it, for the record; by default the user of this machine.
    """
    from orderwright.cli.deadletters import replay_kept

    await replay_kept(list(message_ids), service, topic=topic, key=key, every=all_, dry_run=dry_run, who=as_)


@dead_letters.command
async def discard(message_id: str, *, reason: str, as_: Annotated[str | None, Parameter(name="--as")] = None) -> None:
    """Never handle a message; what is parked behind it goes on.

    Parameters
    ----------
    reason
        Why, for the record.
    as_
        Who does it, for the record; by default the user of this machine.
    """
    from orderwright.cli.deadletters import discard_kept

    await discard_kept(message_id, reason=reason, who=as_)
