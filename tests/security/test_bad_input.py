"""The catalogue of bad inputs: each gets the answer that the contract gives, none is a 500, none changes anything."""

from typing import Any

import pytest

from tests.shop import GOOD_CARD, Shop

ORDER: dict[str, Any] = {"items": [{"product_id": "product-123", "quantity": 1}]}
LINE = ORDER["items"][0]


def order(**changes: Any) -> dict[str, Any]:
    """An order that would be accepted, with these members changed."""
    return {**ORDER, **changes}


def line(**changes: Any) -> dict[str, Any]:
    """An order with one line that is changed like this."""
    return {"items": [{**LINE, **changes}]}


async def size(shop: Shop) -> int:
    """How many orders there are."""
    answer = await shop.call("order", "GET", "/orders?limit=200", role="staff")
    return len(answer.json()["items"])


UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "malformed-request"),
    "truncated": (b'{"items": [', 400, "malformed-json"),
    "trailing garbage": (b"{} {}", 400, "malformed-json"),
    "not a number": (b'{"amount": NaN}', 400, "malformed-json"),
    "infinity": (b'{"amount": Infinity}', 400, "malformed-json"),
    "out of range": (b'{"amount": 1e400}', 400, "malformed-json"),
    "5000 digits": (b'{"amount": ' + b"9" * 5000 + b"}", 400, "malformed-json"),
    "200000 deep": (b"[" * 200_000 + b"]" * 200_000, 400, "malformed-json"),
    "33 deep": (b'{"a":' * 33 + b"1" + b"}" * 33, 400, "malformed-json"),
    "same name twice": (b'{"amount": 1, "amount": 2}', 400, "duplicate-member"),
    "lone surrogate": (b'{"items": "\\ud800"}', 400, "malformed-json"),
    "not UTF-8": (b'{"items": "\xff"}', 400, "malformed-json"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed-json"),
    "a list": (b"[]", 422, "validation-error"),
    "a text": (b'"order"', 422, "validation-error"),
    "null": (b"null", 422, "validation-error"),
    "over a mebibyte": (b'"' + b"x" * (1024 * 1024) + b'"', 413, "content-too-large"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_body_that_cannot_be_read_is_refused(shop: Shop, name: str) -> None:
    content, status, problem = UNREADABLE[name]
    before = await size(shop)
    for service, prefix in (("gateway", "/api/v1"), ("order", "")):
        answer = await shop.call(service, "POST", f"{prefix}/orders", content=content)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].endswith(f"/{problem}")
    assert await size(shop) == before


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "no items": (order(items=[]), 422),
    "101 items": (order(items=[{"product_id": f"p-{n}", "quantity": 1} for n in range(101)]), 422),
    "neither items nor amount": ({}, 422),
    "unknown field": (order(colour="red"), 422),
    "server's status": (order(status="completed"), 422),
    "server's total": (order(total_amount="0.01"), 422),
    "server's paid": (order(payment_status="paid"), 422),
    "quantity 0": (line(quantity=0), 422),
    "quantity -1": (line(quantity=-1), 422),
    "quantity 1.5": (line(quantity=1.5), 422),
    "quantity as text": (line(quantity="2"), 422),
    "quantity true": (line(quantity=True), 422),
    "quantity null": (line(quantity=None), 422),
    "quantity 10^9": (line(quantity=10**9), 422),
    "quantity 2^63": (line(quantity=2**63), 422),
    "price 0": (line(unit_price=0), 422),
    "price negative": (line(unit_price=-1), 422),
    "price with a comma": (line(unit_price="29,99"), 422),
    "price with an exponent": (line(unit_price="3e1"), 422),
    "price in other digits": (line(unit_price="١٢"), 422),
    "price with underscores": (line(unit_price="2_9"), 422),
    "price true": (line(unit_price=True), 422),
    "another price": (line(unit_price="1.00"), 409),
    "unknown product": (line(product_id="nothing-like-it"), 400),
    "product with a slash": (line(product_id="a/b"), 422),
    "product of 65": (line(product_id="x" * 65), 422),
    "NUL": (order(shipping_address={"line1": "a\x00", "city": "b", "country": "DE"}), 422),
    "currency in small letters": (order(currency="usd"), 422),
    "currency of two": (order(currency="US"), 422),
    "no currency": (order(currency="XXX"), 422),
    "another currency": (order(currency="EUR"), 422),
    "somebody else": (order(customer_id="somebody-else"), 403),
    "an amount, from a customer": ({"id": 1, "amount": 100.0}, 403),
    "e-mail with a line break": (order(customer={"email": "a@b.c\r\nBcc: x@y.z"}), 422),
    "wrong last digit of the card": (order(payment_method={**GOOD_CARD, "card_number": "4111111111111112"}), 422),
    "card expired": (order(payment_method={**GOOD_CARD, "expiry": "01/20"}), 422),
    "month 13": (order(payment_method={**GOOD_CARD, "expiry": "13/35"}), 422),
    "cvv of 2": (order(payment_method={**GOOD_CARD, "cvv": "12"}), 422),
    "unknown method": (order(payment_method={"type": "barter"}), 422),
    "unknown token": (order(payment_method={"type": "token", "token": "tok_of_nobody"}), 422),
    "more than there is": (line(quantity=501), 400),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", REFUSED)
async def test_an_order_that_breaks_a_rule_is_refused(shop: Shop, name: str) -> None:
    body, status = REFUSED[name]
    level = await shop.stock("product-123")
    answer = await shop.call("gateway", "POST", "/api/v1/orders", body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "4111" not in answer.text
    assert await shop.stock("product-123") == level


AMOUNTS = {
    "JPY with decimals": ({"id": "a", "amount": "10.50", "currency": "JPY"}, 422),
    "USD with three": ({"id": "b", "amount": "10.505"}, 422),
    "BHD with four": ({"id": "c", "amount": "1.2345", "currency": "BHD"}, 422),
    "eleven digits": ({"id": "d", "amount": "12345678901"}, 422),
    "nothing": ({"id": "e", "amount": 0}, 422),
    "less than nothing": ({"id": "f", "amount": -5}, 422),
    "both": ({"id": "g", "amount": 1, **ORDER}, 422),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", AMOUNTS)
async def test_an_amount_that_cannot_be_is_refused(shop: Shop, name: str) -> None:
    body, status = AMOUNTS[name]
    answer = await shop.call("gateway", "POST", "/api/v1/orders", body, role="staff")
    assert answer.status_code == status, answer.text


ELSEWHERE: list[tuple[str, str, Any, str, int]] = [
    ("GET", "/orders/not-a-uuid", None, "customer", 404),
    ("GET", "/orders/..%2f..%2fetc", None, "customer", 404),
    ("GET", f"/orders/{'x' * 5000}", None, "customer", 404),
    ("GET", "/orders/' OR 1=1 --", None, "customer", 404),
    ("GET", "/orders?limit=0", None, "staff", 422),
    ("GET", "/orders?limit=1000000", None, "staff", 422),
    ("GET", "/orders?cursor=forged", None, "staff", 400),
    ("GET", "/orders?since=2026-01-01T24:00:00", None, "staff", 422),
    ("GET", "/orders?since=2026-01-01T00:00:00", None, "staff", 422),
    ("GET", "/orders?status=nice", None, "staff", 422),
    ("GET", "/products?cursor=forged", None, "customer", 400),
    ("GET", "/shipments?cursor=forged", None, "customer", 400),
    ("PATCH", "/orders", None, "customer", 405),
    ("GET", "/nothing", None, "customer", 404),
    ("GET", "//orders", None, "customer", 404),
    ("GET", "/orders/", None, "customer", 404),
    ("GET", "/ORDERS", None, "customer", 404),
    ("POST", "/payments", {"order_id": "x", "amount": 1, "payment_method": GOOD_CARD}, "customer", 404),
    ("POST", "/payments", {"order_id": "x", "amount": "1"}, "customer", 422),
    ("POST", "/payments/0198-nothing/refund", None, "staff", 404),
    ("POST", "/payments/0198-nothing/refund", None, "customer", 403),
    ("POST", "/webhooks/sandbox", {"data": {"key": "x"}}, "customer", 401),
    ("POST", "/webhooks/nobody", {}, "customer", 404),
    ("PUT", "/products/product-123/stock", {"on_hand": -1}, "staff", 422),
    ("PUT", "/products/product-123/stock", {"on_hand": 1, "adjust": 1}, "staff", 422),
    ("PUT", "/products/product-123/stock", {"adjust": -10_000}, "staff", 409),
    ("PUT", "/products/product-123/stock", {"on_hand": 1}, "customer", 403),
    ("POST", "/reservations", {"items": [{"product_id": "product-123", "quantity": 1}]}, "customer", 403),
    ("POST", "/reservations", {"items": [{"product_id": "product-789", "quantity": 51}]}, "staff", 400),
    ("DELETE", "/reservations/0198-nothing", None, "staff", 404),
    ("POST", "/products", {"id": "product-123", "name": "x", "price": 1}, "staff", 409),
    ("POST", "/products", {"name": "x", "price": "1.999"}, "staff", 422),
    ("PUT", "/products/product-123", {}, "staff", 422),
    ("PUT", "/templates/order_confirmation", {"subject": "{{", "body": "x"}, "staff", 422),
    ("PUT", "/templates/nothing", {"subject": "x", "body": "x"}, "staff", 404),
    ("POST", "/notifications/email", {"recipient": "a@b.c\nBcc: d@e.f", "subject": "x"}, "staff", 422),
    ("POST", "/register", {"email": "a@b.c\r\nx", "password": "long enough"}, "customer", 422),
    ("POST", "/register", {"email": "ada@example.com", "password": "long enough", "roles": ["admin"]}, "customer", 422),
    ("POST", "/register", {"email": "ada@example.com", "password": "password123"}, "customer", 422),
    ("POST", "/register", {"email": "customer@example.com", "password": "long enough"}, "customer", 409),
    ("POST", "/login", {"email": "nobody@example.com", "password": "wrong"}, "customer", 401),
    ("POST", "/refresh", {"refresh_token": "made up"}, "customer", 401),
    ("GET", "/contacts?order_id=x", None, "staff", 404),
    ("POST", "/payment-methods", {"items": []}, "staff", 404),
    ("POST", "/service-token", {"service": "order", "secret": "guess"}, "staff", 404),
    ("POST", "/shipments/cancel", {"order_id": "x"}, "staff", 404),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", ELSEWHERE, ids=lambda case: f"{case[0]} {case[1][:40]} {case[4]}")
async def test_everywhere_else_too(shop: Shop, case: tuple[str, str, Any, str, int]) -> None:
    method, path, body, role, status = case
    answer = await shop.call("gateway", method, f"/api/v1{path}", body, role=role)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


HEADERS: list[tuple[dict[str, str], int]] = [
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ({"Content-Type": "application/json", "Accept": "text/html"}, 406),
    ({"Content-Type": "application/json", "Idempotency-Key": "k" * 256}, 422),
    ({"Content-Type": "application/json", "Idempotency-Key": ""}, 422),
    ({"Content-Type": "application/json", "X-Long": "x" * 17_000}, 431),
    ({"Content-Type": "application/json", **{f"X-{n}": "1" for n in range(120)}}, 431),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", HEADERS, ids=lambda case: f"{list(case[0])[-1]} {case[1]}")
async def test_headers_that_cannot_be_answered(shop: Shop, case: tuple[dict[str, str], int]) -> None:
    headers, status = case
    content = b'{"items": [{"product_id": "product-123", "quantity": 1}]}'
    answer = await shop.call("gateway", "POST", "/api/v1/orders", content=content, headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.asyncio(loop_scope="module")
async def test_no_token_and_every_kind_of_bad_token_get_the_same_401(shop: Shop) -> None:
    good = await shop.token("customer")
    head, payload, signature = good.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0"
    for token in (
        "nonsense",
        f"{head}.{payload}.",
        f"{none}.{payload}.",
        f"{head}.{payload[:-4]}AAAA.{signature}",
        "x" * 9000,
    ):
        for service, prefix in (("gateway", "/api/v1"), ("order", ""), ("payment", ""), ("inventory", "")):
            path = {"payment": "/payments/x", "inventory": "/reservations"}.get(service, "/orders")
            headers = {"Authorization": f"Bearer {token}"}
            answer = await shop.call(service, "GET", f"{prefix}{path}", role=None, headers=headers)
            assert answer.status_code == 401, (service, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["type"].endswith("/unauthorized")
