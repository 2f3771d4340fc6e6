"""The identity service's tables. Passwords are Argon2 hashes and refresh tokens SHA-256 digests: none can be used."""

import sqlalchemy as sa

from orderwright.kernel.columns import Instant, json_document, own_id
from orderwright.kernel.tables import with_kernel_tables

metadata = with_kernel_tables(sa.MetaData())

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("email", sa.String(254), nullable=False, unique=True),
    sa.Column("name", sa.String(200)),
    sa.Column("phone", sa.String(40)),
    sa.Column("password_hash", sa.String(300), nullable=False),
    sa.Column("roles", json_document(), nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", own_id(), primary_key=True),
    sa.Column("account_id", sa.String(64), sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Index("ix_sessions_account", "account_id"),
    sa.Index("ix_sessions_expiry", "expires_at"),
)

refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("session_id", own_id(), sa.ForeignKey("sessions.id"), nullable=False),
    sa.Column("used_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_refresh_tokens_session", "session_id"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("private_pem", sa.Text, nullable=False),
    sa.Column("public_jwk", json_document(), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("retired_at", Instant, comment="from then on it signs nothing new"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("subject", sa.String(300), primary_key=True, comment="account:… or address:…"),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", Instant),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_attempts_updated", "updated_at"),
)

OWN_TABLES = (accounts, sessions, refresh_tokens, signing_keys, attempts)
