"""The tables that every service's database has beside its own: outbox, inbox, kept messages, idempotency keys.

Invariant: the outbox has the columns that Debezium's outbox event router reads (id, aggregatetype, aggregateid, type,
payload), so change data capture can take the relay's place. https://debezium.io/documentation/reference/transformations/outbox-event-router.html
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from orderwright.kernel.columns import Instant, json_document

kernel_metadata = sa.MetaData()

TEXT_LENGTH = 200
"""What is kept of a text in a message that failed."""

outbox = sa.Table(
    "outbox",
    kernel_metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("aggregatetype", sa.String(100), nullable=False, comment="the topic"),
    sa.Column("aggregateid", sa.String(64), nullable=False, comment="the key"),
    sa.Column("type", sa.String(100), nullable=False, comment="the event's stable name"),
    sa.Column("payload", sa.LargeBinary, nullable=False, comment="the body, exactly as it is sent"),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("traceparent", sa.String(100)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("lease_until", Instant, nullable=False, comment="until then somebody is sending it"),
    sa.Index("ix_outbox_lease", "lease_until"),
)

inbox = sa.Table(
    "inbox",
    kernel_metadata,
    sa.Column("message_id", sa.String(200), primary_key=True),
    sa.Column("source", sa.String(200), primary_key=True),
    sa.Column("received_at", Instant, nullable=False),
    sa.Index("ix_inbox_received", "received_at"),
)

kept_messages = sa.Table(
    "kept_messages",
    kernel_metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("state", sa.String(10), nullable=False, comment="retrying | dead | parked | handled | discarded"),
    sa.Column("topic", sa.String(TEXT_LENGTH), nullable=False),
    sa.Column("key", sa.String(TEXT_LENGTH), nullable=False),
    sa.Column("about", sa.String(64), comment="what the key is the id of; null where the message cannot be read"),
    sa.Column("event_id", sa.String(TEXT_LENGTH), comment="null where the message cannot be read"),
    sa.Column("source", sa.String(TEXT_LENGTH)),
    sa.Column("holds", sa.Boolean, nullable=False, comment="later messages of its line wait behind it"),
    sa.Column("position", sa.Integer, comment="its place in its line"),
    sa.Column("headers", json_document(), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False, comment="of the last attempt; empty while there was none"),
    sa.Column("next_attempt_at", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint(
        "state IN ('retrying', 'dead', 'parked', 'handled', 'discarded')", name="ck_kept_messages_state"
    ),
    # A message that comes again while it is kept is not kept twice.
    sa.UniqueConstraint("event_id", "source", name="uq_kept_messages_event"),
    sa.Index("ix_kept_messages_due", "state", "next_attempt_at"),
    sa.Index("ix_kept_messages_line", "key", "about", "position"),
)

kept_lines = sa.Table(
    "kept_lines",
    kernel_metadata,
    sa.Column("key", sa.String(TEXT_LENGTH), primary_key=True),
    sa.Column("about", sa.String(64), primary_key=True),
    sa.Column("last_position", sa.Integer, nullable=False),
    comment="one row for each key that is held up; whoever changes who waits there locks it",
)

kept_attempts = sa.Table(
    "kept_attempts",
    kernel_metadata,
    sa.Column("kept_id", sa.String(36), sa.ForeignKey("kept_messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)

dead_letter_actions = sa.Table(
    "dead_letter_actions",
    kernel_metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("who", sa.String(TEXT_LENGTH), nullable=False),
    sa.Column("action", sa.String(10), nullable=False, comment="replay | discard"),
    sa.Column("message_id", sa.String(36), nullable=False, comment="of kept_messages; outlives it"),
    sa.Column("topic", sa.String(TEXT_LENGTH), nullable=False),
    sa.Column("key", sa.String(TEXT_LENGTH), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index("ix_dead_letter_actions_message", "message_id", "id"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    kernel_metadata,
    # The key first: a caller may have a million of them.
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("caller", sa.String(64), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("result", json_document(), comment="what the committed work came to, before the answer was known"),
    sa.Column("status", sa.Integer, comment="of the stored answer; null while the first request runs"),
    sa.Column("media_type", sa.String(50)),
    sa.Column("body", sa.LargeBinary),
    sa.Column("lease_until", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_idempotency_created", "created_at"),
)

KERNEL_TABLES = (outbox, inbox, kept_messages, kept_lines, kept_attempts, dead_letter_actions, idempotency_keys)

UNSEARCHED = (sa.JSON, sa.LargeBinary, sa.Text)
"""The types of what is read once its row was found: documents, bodies, free text. No index has them."""


def make_tables(connection: sa.Connection, own: Sequence[sa.Table]) -> None:
    """Create the kernel's tables and a service's own ones, and on PostgreSQL say how they are to be looked after."""
    for table in (*KERNEL_TABLES, *own):
        table.create(connection)
        if connection.dialect.name == "postgresql" and (told := upkeep(table)):
            connection.exec_driver_sql(told)


def upkeep(table: sa.Table) -> str:
    """The statement that tells PostgreSQL how to look after a table or its copy; empty where it need not be told."""
    # Comparing thousands of documents was two thirds of what an ANALYZE takes, every minute while tables are young.
    uncounted = [column.name for column in table.columns if isinstance(column.type, UNSEARCHED)]
    changes = [f'ALTER COLUMN "{name}" SET STATISTICS 0' for name in uncounted]
    if table.name == outbox.name:
        # It is nearly empty whenever it was trimmed. VACUUM would give its pages back to the disk: all who write wait
        # while it does, and soon for new ones.
        changes.append("SET (vacuum_truncate = off, toast.vacuum_truncate = off)")
    name = postgresql.dialect().identifier_preparer.format_table(table)  # type: ignore[no-untyped-call]
    return f"ALTER TABLE {name} {', '.join(changes)}" if changes else ""


def drop_tables(connection: sa.Connection, own: Sequence[sa.Table]) -> None:
    """Take back what `make_tables` made."""
    for table in reversed((*KERNEL_TABLES, *own)):
        table.drop(connection)


def with_kernel_tables(metadata: sa.MetaData) -> sa.MetaData:
    """`metadata` with the kernel's tables beside its own, as the service's migrations make them."""
    for table in KERNEL_TABLES:
        table.to_metadata(metadata)
    return metadata
