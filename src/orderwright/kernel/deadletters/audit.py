"""Who did what to a kept message: one row for each act of a person, written with the act itself.

Invariant: an act without its row, or a row without its act, cannot exist. Rows outlive the messages they are about.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from orderwright.kernel.columns import storable
from orderwright.kernel.deadletters.kept import ERROR_LENGTH, KeptMessage
from orderwright.kernel.tables import TEXT_LENGTH
from orderwright.kernel.tables import dead_letter_actions as actions

REPLAY, DISCARD = "replay", "discard"


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody did something to a kept message."""

    id: str
    at: datetime
    who: str
    action: str
    message_id: str
    topic: str
    key: str
    reason: str | None
    outcome: str


def record(
    connection: sa.Connection,
    kept: KeptMessage,
    *,
    act_id: str,
    at: datetime,
    who: str,
    action: str,
    outcome: str,
    reason: str | None = None,
) -> None:
    """Write down an act and what came of it."""
    row = {
        "id": act_id,
        "at": at,
        "who": storable(who, TEXT_LENGTH),
        "action": action,
        "message_id": kept.id,
        "topic": kept.topic,
        "key": kept.key,
        "reason": None if reason is None else storable(reason, ERROR_LENGTH),
        "outcome": storable(outcome, ERROR_LENGTH),
    }
    connection.execute(sa.insert(actions), row)


def acts_on(connection: sa.Connection, message_id: str) -> list[Act]:
    """What was done to a message, the first first."""
    query = sa.select(actions).where(actions.c.message_id == message_id).order_by(actions.c.at, actions.c.id)
    return [Act(**row._mapping) for row in connection.execute(query)]
