"""A stranger with a plain client and the contract's words takes part: what is put at a broker by hand is handled.

Nothing of ours writes the message: neither the code of the contracts nor that of the adapters. The names and the
bodies are those of docs/reference/wire.md.
"""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from tests.brokers import broker_url
from tests.conformance.test_rabbitmq_strangers import stranger_at
from tests.redis_cli import RedisCli
from tests.shop import GOOD_CARD, Shop, open_shop, until

TOPIC = "order.created"


def attributes(order_id: str) -> dict[str, str]:
    """What travels beside the body."""
    return {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_type": "OrderCreated",
        "ce_source": "/by/hand",
        "ce_time": "2026-01-31T12:00:00Z",
        "ce_subject": order_id,
    }


async def put_into_redis(url: str, prefix: str, order_id: str, body: str) -> None:
    words = [word for pair in attributes(order_id).items() for word in pair]
    RedisCli(url)("XADD", prefix + TOPIC, "*", *words, "data", body)


async def put_into_rabbitmq(url: str, prefix: str, order_id: str, body: str) -> None:
    with stranger_at(url) as stranger:
        assert stranger.exchange == f"{prefix}orderwright"
        stranger.put(body.encode(), TOPIC, headers=attributes(order_id), content_type="application/json")


async def put_into_kafka(url: str, prefix: str, order_id: str, body: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=urlsplit(url).netloc)
    await producer.start()
    try:
        headers = [(name, value.encode()) for name, value in attributes(order_id).items()]
        await producer.send_and_wait(prefix + TOPIC, body.encode(), key=order_id.encode(), headers=headers)
    finally:
        await producer.stop()


PUT: dict[str, Callable[[str, str, str, str], Awaitable[None]]] = {
    "redis": put_into_redis,
    "rabbitmq": put_into_rabbitmq,
    "kafka": put_into_kafka,
}


@pytest.mark.parametrize("kind", PUT)
async def test_an_order_that_a_stranger_puts_at_the_broker_is_reserved_and_can_be_paid(
    kind: str, tmp_path: Path
) -> None:
    url = broker_url(kind)
    [prefix] = parse_qs(urlsplit(url).query)["prefix"]
    async with open_shop(tmp_path, url) as shop:
        order_id, customer = str(uuid4()), await shop.register("customer")
        body = (
            f'{{"orderId": "{order_id}", "userId": "{customer}", "items": [{{"productId": "product-123", '
            '"quantity": 2, "price": 29.99}], "totalAmount": 59.98, "status": "PENDING"}'
        )
        await PUT[kind](url, prefix, order_id, body)
        await until(partial(_reserved, shop, order_id), f"the inventory has reserved for {order_id}")
        said = await shop.until_heard("stock.reserved", order_id)
        assert said == {"orderId": order_id, "items": [{"productId": "product-123", "quantity": 2}]}
        known = await shop.until_heard("payment.initiated", order_id)
        assert (known["userId"], known["amount"], known["status"]) == (customer, 59.98, "PENDING")
        paid = await shop.call(
            "payment", "POST", "/payments", {"order_id": order_id, "amount": "59.98", "payment_method": GOOD_CARD}
        )
        assert (paid.status_code, paid.json()["status"]) == (201, "success"), paid.text
        await shop.until_heard("stock.deducted", order_id)


async def _reserved(shop: Shop, order_id: str) -> bool:
    answer = await shop.call("inventory", "GET", f"/reservations?order_id={order_id}", role="staff")
    return [reservation["status"] for reservation in json.loads(answer.content)] == ["reserved"]
