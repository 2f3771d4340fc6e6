"""Dead letters over HTTP, for staff: the same routes at every service that hears anything.

Invariant: nothing here is open to customers or to other services; a message may hold what concerns one customer only.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, model_validator

from orderwright.kernel.auth import Staff
from orderwright.kernel.deadletters import reading
from orderwright.kernel.deadletters.desk import DeadLetterDesk, Replayed
from orderwright.kernel.deadletters.kept import KeptMessage
from orderwright.kernel.deadletters.reading import History, Selection
from orderwright.kernel.deadletters.states import OPEN, RETRYING
from orderwright.kernel.errors import Malformed, NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.messages import Message
from orderwright.kernel.web import Body, Cursor, ExactRoute, Limit, Page, ShortText, View

router = APIRouter(route_class=ExactRoute, tags=["dead letters"])

State = Literal["retrying", "dead", "parked", "handled", "discarded"]
Text = Annotated[ShortText | None, Query()]
AT_ONCE = 50
"""So many messages are replayed in one request; a page takes up the next."""


class DeadLetterView(View):
    """A message that could not be handled."""

    id: str
    state: State
    event: str | None
    topic: str
    key: str
    order_id: str | None
    attempts: int
    error: str
    trace_id: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime


class AttemptView(View):
    """An attempt that failed."""

    number: int
    at: datetime
    error: str


class ActView(View):
    """What somebody did to a message."""

    at: datetime
    who: str
    action: Literal["replay", "discard"]
    reason: str | None
    outcome: str


class DeadLetterHistoryView(DeadLetterView):
    """A message with all that happened to it."""

    headers: dict[str, str]
    body: str
    history: list[AttemptView]
    actions: list[ActView]
    waits_behind: str | None
    waiting_behind: int


class ReplayBody(Body):
    dry_run: bool = Field(False, description="Only tell what would happen")


class ReplayManyBody(Body):
    """Which dead letters: these ids, or those of a topic, of a key, of both, or all."""

    ids: list[ShortText] | None = Field(None, min_length=1, max_length=AT_ONCE)
    topic: ShortText | None = None
    key: ShortText | None = None
    all: Literal[True] | None = None
    dry_run: bool = Field(False, description="Only tell what would happen")
    cursor: ShortText | None = Field(None, description="`next_cursor` of the answer before")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        chosen = (self.ids is not None, self.topic is not None or self.key is not None, self.all is not None)
        if sum(chosen) != 1:
            raise ValueError("name the messages in one way: ids, or topic and key, or all")
        return self


class DiscardBody(Body):
    reason: ShortText


class SaidView(View):
    """An event that was said, or would be."""

    event: str
    topic: str
    key: str
    payload: Any


class ReplayedView(View):
    """What came of a replay, or would come of it."""

    id: str
    outcome: Literal["handled", "failed", "already_handled", "parked", "gone"]
    detail: str | None
    said: list[SaidView]
    dry_run: bool


async def _desk(request: Request) -> DeadLetterDesk:
    desk: DeadLetterDesk = request.app.state.dead_letters
    return desk


Desk = Annotated[DeadLetterDesk, Depends(_desk)]


@router.get("/dead-letters", summary="Messages that could not be handled, the newest first (staff)")
async def list_dead_letters(
    *,
    _: Staff,
    desk: Desk,
    state: State | None = None,
    topic: Text = None,
    key: Text = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DeadLetterView]:
    """Without a state: what is still to be handled, which is dead, tried again, or parked behind one of these."""
    selection = Selection((state,) if state else OPEN, topic, key)
    found = await desk.listed(selection, before=_position(cursor), limit=limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    return Page(items=[DeadLetterView(**_members(kept)) for kept in found[:limit]], next_cursor=following)


@router.post("/dead-letters/replay", summary="Try many dead letters again (staff)")
async def replay_many(body: ReplayManyBody, caller: Staff, desk: Desk) -> Page[ReplayedView]:
    """The oldest first, so many at once; `next_cursor` leads to the rest. One that fails again stays a dead letter."""
    ids, following = body.ids, None
    if ids is None:
        found = await desk.select(body.topic, body.key, after=_position(body.cursor), limit=AT_ONCE + 1)
        ids, following = found[:AT_ONCE], found[AT_ONCE - 1] if len(found) > AT_ONCE else None
    results = await desk.replay_many(ids, who=caller.id, dry_run=body.dry_run)
    return Page(items=[_replayed(result, body.dry_run) for result in results], next_cursor=following)


@router.get("/dead-letters/{message_id}", summary="A dead letter and all that happened to it (staff)")
async def get_dead_letter(message_id: str, _: Staff, desk: Desk) -> DeadLetterHistoryView:
    return _history(await desk.shown(_routable(message_id)))


@router.post("/dead-letters/{message_id}/replay", summary="Try a dead letter again (staff)")
async def replay(message_id: str, body: ReplayBody, caller: Staff, desk: Desk) -> ReplayedView:
    """At once; the answer tells what came of it. One that fails again stays what it was."""
    result = await desk.replay(_routable(message_id), who=caller.id, dry_run=body.dry_run)
    return _replayed(result, body.dry_run)


@router.post("/dead-letters/{message_id}/discard", summary="Never handle a dead letter (staff)")
async def discard(message_id: str, body: DiscardBody, caller: Staff, desk: Desk) -> DeadLetterHistoryView:
    """What is parked behind it goes on. It stays to be seen for 30 days, and can still be replayed."""
    return _history(await desk.discard(_routable(message_id), who=caller.id, reason=body.reason))


def _routable(message_id: str) -> str:
    if not is_uuid(message_id):
        raise NotFound("No such message is kept here")
    return message_id


def _position(cursor: str | None) -> str | None:
    if cursor is not None and not is_uuid(cursor):
        raise Malformed("The cursor is not one that was given out here", problem="invalid-cursor")
    return cursor


def _members(kept: KeptMessage) -> dict[str, Any]:
    return {
        "id": kept.id,
        "state": kept.state,
        "event": reading.event_name(kept),
        "topic": kept.topic,
        "key": kept.key,
        "order_id": reading.order_id(kept),
        "attempts": kept.attempts,
        "error": kept.error,
        "trace_id": reading.trace_id(kept),
        "next_attempt_at": kept.next_attempt_at if kept.state == RETRYING else None,
        "created_at": kept.created_at,
        "updated_at": kept.updated_at,
    }


def _history(history: History) -> DeadLetterHistoryView:
    return DeadLetterHistoryView(
        **_members(history.kept),
        headers=dict(history.kept.headers),
        body=history.kept.body.decode("utf-8", "replace"),
        history=[AttemptView(number=number, at=at, error=error) for number, at, error in history.attempts],
        actions=[
            ActView.model_validate(
                {"at": act.at, "who": act.who, "action": act.action, "reason": act.reason, "outcome": act.outcome}
            )
            for act in history.acts
        ],
        waits_behind=history.waits_behind,
        waiting_behind=history.waiting,
    )


def _replayed(result: Replayed, dry_run: bool) -> ReplayedView:
    return ReplayedView.model_validate(
        {
            "id": result.id,
            "outcome": result.outcome,
            "detail": result.detail,
            "said": [_said(message) for message in result.said],
            "dry_run": dry_run,
        }
    )


def _said(message: Message) -> SaidView:
    # Amounts stay what they are on the wire: read as decimals, and text in the answer like any money.
    payload = msgspec.json.Decoder(float_hook=str).decode(message.body)
    return SaidView(event=message.name, topic=message.topic, key=message.key, payload=payload)
