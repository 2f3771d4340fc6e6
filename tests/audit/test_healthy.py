"""What is healthy is not called broken: after a day at rest, and while orders move."""

from tests.audit.ledger import Ledger


async def test_a_healthy_shop_has_no_finding(ledger: Ledger) -> None:
    report = await ledger.audit()
    assert (report.by_kind, report.suspects, report.notes) == ({}, 0, [])
    assert report.looked_at["orders"] == len(ledger.story)
    # An order of an unknown product and a cart have no charge; whatever was told what it costs has one.
    assert report.looked_at["charges"] == len(ledger.story)
    assert report.looked_at["products in stock"] > 30
    assert report.looked_at["products"] > 30
