"""What of the Kafka adapter needs no Kafka: its URL, and how far a partition counts as handled."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwright.kernel.brokers.kafka.offsets import Progress
from orderwright.kernel.brokers.kafka.options import Options, parsed
from orderwright.kernel.errors import ConfigurationError

P, Q = ("t", 0), ("t", 1)


def test_a_url_names_servers_and_the_rest_has_defaults() -> None:
    assert parsed("kafka://a:1,b,[::1]:3") == Options(servers=("a:1", "b:9092", "[::1]:3"))


def test_every_option_is_read() -> None:
    assert parsed(
        "kafka://me:s%40fe@a:1?prefix=x.&partitions=3&replication=2&session_timeout_s=6"
        "&security=SASL_SSL&mechanism=scram-sha-512"
    ) == Options(
        servers=("a:1",),
        prefix="x.",
        partitions=3,
        replication=2,
        session_timeout_s=6,
        security="sasl_ssl",
        mechanism="SCRAM-SHA-512",
        username="me",
        password="s@fe",
    )


def test_security_reaches_the_client() -> None:
    plain = parsed("kafka://a").for_client(5)
    assert (plain["security_protocol"], plain["ssl_context"]) == ("PLAINTEXT", None)
    safe = parsed("kafka://me:pw@a?security=sasl_ssl").for_client(5)
    assert (safe["security_protocol"], safe["sasl_mechanism"]) == ("SASL_SSL", "PLAIN")
    assert (safe["sasl_plain_username"], safe["sasl_plain_password"]) == ("me", "pw")
    assert safe["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("kafka://a?pre=x", "prefix"),
        ("kafka://a?prefix=a/b", "prefix"),
        ("kafka://a/topic", "no path"),
        ("kafka://", "no Kafka server"),
        ("kafka://a:b", "'a:b'"),
        ("kafka://a:99999", "99999"),
        ("kafka://a,[::1", "no Kafka server"),
        ("kafka://::1", "no Kafka server"),
        ("kafka:a", "kafka://host"),
        ("kafka://a,,b", "no Kafka server"),
        ("kafka://a?partitions=0", "partitions"),
        ("kafka://a?partitions=", "partitions"),
        ("kafka://a?replication=x", "replication"),
        ("kafka://a?session_timeout_s=1.5", "session_timeout_s"),
        ("kafka://a?security=none", "sasl_ssl"),
        ("kafka://u:p@a?security=sasl_ssl&mechanism=GSSAPI", "SCRAM-SHA-256"),
        ("kafka://u:p@a", "sasl_plaintext"),
        ("kafka://a?security=sasl_ssl", "user:password@"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_with_what_would(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named.replace("[", r"\[")):
        parsed(url)


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parsed("kafka://u:hunter2@a?partitions=x")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(parsed("kafka://u:hunter2@a?security=sasl_ssl"))


def test_each_partition_moves_by_itself_and_only_over_what_was_acknowledged() -> None:
    progress = Progress()
    for partition, offset in [(P, 7), (P, 8), (P, 12), (Q, 0)]:
        progress.handed_out(partition, offset)
    progress.acknowledged(P, 8)
    assert (progress.to_commit(), progress.outstanding) == ({}, 3)
    progress.acknowledged(P, 7)
    assert progress.to_commit() == {P: 9}
    progress.acknowledged(Q, 0)
    progress.acknowledged(P, 12)
    progress.acknowledged(P, 12)
    assert (progress.to_commit(), progress.outstanding) == ({P: 13, Q: 1}, 0)


def test_what_moved_on_during_a_commit_is_committed_next() -> None:
    progress = Progress()
    progress.handed_out(P, 0)
    progress.handed_out(P, 1)
    progress.acknowledged(P, 0)
    on_its_way = progress.to_commit()
    progress.acknowledged(P, 1)
    progress.committed(on_its_way)
    assert progress.to_commit() == {P: 2}
    progress.committed({P: 2})
    assert progress.to_commit() == {}


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_commit_never_covers_what_is_open(gaps: list[int], random: Random) -> None:
    progress, offsets = Progress(), [sum(gaps[: n + 1]) for n in range(len(gaps))]
    for offset in offsets:
        progress.handed_out(P, offset)
    left = set(offsets)
    for offset in random.sample(offsets, len(offsets)):
        progress.acknowledged(P, offset)
        left.remove(offset)
        handled = [other for other in offsets if not left or other < min(left)]
        assert progress.to_commit().get(P, 0) == (handled[-1] + 1 if handled else 0)
