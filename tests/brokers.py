"""Which brokers tests run on: the one in the process, and each real one that was found.

A real one is found by the environment (see `databases.SERVERS`) or by `make backends`. Every test has names of its own
there: `?prefix=` stands before each topic, group and queue.
"""

import asyncio
import os
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest

from tests.databases import needed, url_of
from tools.backends import leftovers
from tools.backends.__main__ import chosen_folder, servers
from tools.backends.server import Server

BROKERS = ("memory", "redis", "rabbitmq", "kafka")
SERVER_OF = {"redis": "Redis", "rabbitmq": "RabbitMQ", "kafka": "Kafka"}
FEWER = {"kafka": {"partitions": "4"}}
"""A server that is restarted in a test reads each partition that the others left in it."""
SOON = {"redis": {"claim_after_s": "1"}, "kafka": {"session_timeout_s": "6"}}
"""What has a broker notice soon that a consumer died, where that takes long."""


def broker_url(kind: str, **options: str) -> str:
    """Where a broker of that kind is, under names that nobody else has; skips where there is none."""
    if kind == "memory":
        return "memory://"
    words = {"prefix": f"{_of_this_run()}{secrets.token_hex(6)}.", **FEWER.get(kind, {}), **options}
    return with_query(needed(SERVER_OF[kind]), words.items())


def remove_topics() -> None:
    """Take this run's topics out of Kafka, where they would stay, and each restart would take longer for them."""
    if url := url_of("Kafka"):
        asyncio.run(leftovers.remove_topics(urlsplit(url).netloc, _of_this_run()))


def _of_this_run() -> str:
    return f"t{os.getpid()}-"


def with_query(url: str, items: Iterable[tuple[str, str]]) -> str:
    """`url` with these words in its query as well."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *items])))


def own_server(kind: str) -> Server:
    """The server itself, to be restarted; skips where it was not `make backends` without an engine that started it."""
    name = SERVER_OF.get(kind, "PostgreSQL")
    needed(name)
    folder = chosen_folder()
    if not (folder / "ports.json").exists():
        pytest.skip(f"{name} was not started by this checkout, so it is not ours to restart")
    return servers(folder)[kind]
