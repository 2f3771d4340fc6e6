"""Which path belongs to which service, and which need no token.

Invariant: what is not in this table does not exist outside; what the services have for each other and for operators is
named in HIDDEN and stays inside. Only a path in normal form is looked up, so no spelling of a path leads anywhere else.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

API = "/api/v1"
READING = frozenset({"GET", "HEAD"})
POSTING = frozenset({"POST"})

_PARAMETER = re.compile(r"\{[^}]*\}")
_UNUSUAL = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the API, for all its methods; the service knows which it has."""

    service: str
    template: str
    """The path at the service, which is also the path below the API's prefix unless it is shared."""
    public: frozenset[str] = frozenset()
    """Methods that need no token here; the service decides about one that is sent."""
    guessable: bool = False
    """Somebody might guess secrets here: a stricter limit."""
    streams: bool = False
    """The answer stays open for as long as the client listens."""
    shared: bool = False
    """Several services have this path; outside, the service's name follows its first segment."""

    @property
    def path(self) -> str:
        """The path's template outside, by which requests are counted."""
        return API + self.outside(self.template)

    def outside(self, template: str) -> str:
        """The service's own template, whatever it calls its parameters, as it is below the API's prefix."""
        if not self.shared:
            return template
        first, rest = _after_first_segment(template)
        return f"{first}/{self.service}{rest}"

    def inside(self, path: str) -> str:
        """A path below the API's prefix as the service knows it."""
        if not self.shared:
            return path
        first, rest = _after_first_segment(path)
        return first + rest.removeprefix(f"/{self.service}")


def _after_first_segment(path: str) -> tuple[str, str]:
    end = path.find("/", 1)
    return (path, "") if end < 0 else (path[:end], path[end:])


HEARING = ("catalog", "cart", "order", "payment", "inventory", "shipping", "notification")
"""The services that hear events, and so can have dead letters."""

ROUTES: tuple[Route, ...] = (
    Route("identity", "/register", POSTING, guessable=True),
    Route("identity", "/login", POSTING, guessable=True),
    Route("identity", "/refresh", POSTING, guessable=True),
    Route("identity", "/logout", POSTING),
    Route("identity", "/.well-known/jwks.json", READING),
    Route("identity", "/me"),
    Route("identity", "/me/password"),
    Route("identity", "/users"),
    Route("identity", "/users/{user_id}"),
    Route("identity", "/users/{user_id}/roles"),
    Route("identity", "/users/{user_id}/disable"),
    Route("identity", "/users/{user_id}/enable"),
    Route("catalog", "/products", READING),
    Route("catalog", "/products/{product_id}", READING),
    Route("inventory", "/products/{product_id}/stock", READING),
    Route("inventory", "/stock", READING),
    Route("inventory", "/check-availability"),
    Route("inventory", "/reservations"),
    Route("inventory", "/reservations/{reservation_id}"),
    Route("inventory", "/warehouses"),
    Route("inventory", "/warehouses/{warehouse_id}"),
    Route("cart", "/carts/{user_id}"),
    Route("cart", "/carts/{user_id}/items"),
    Route("cart", "/carts/{user_id}/items/{product_id}"),
    Route("cart", "/carts/{user_id}/checkout"),
    Route("order", "/orders"),
    Route("order", "/orders/customer/{customer_id}"),
    Route("order", "/orders/{order_id}"),
    Route("order", "/orders/{order_id}/cancel"),
    Route("order", "/orders/{order_id}/status"),
    Route("order", "/orders/{order_id}/events"),
    Route("order", "/orders/{order_id}/saga"),
    Route("order", "/orders/{order_id}/saga/push"),
    Route("order", "/orders/{order_id}/stream", streams=True),
    Route("payment", "/payments"),
    Route("payment", "/payments/order/{order_id}"),
    Route("payment", "/payments/attention"),
    Route("payment", "/payments/{payment_id}"),
    Route("payment", "/payments/{payment_id}/refund"),
    Route("payment", "/payments/{payment_id}/refunds"),
    Route("payment", "/payments/{payment_id}/ask"),
    Route("payment", "/webhooks/{provider}", POSTING),
    Route("payment", "/webhook-events/{webhook_id}/retry"),
    Route("payment", "/webhook-events/{webhook_id}/dismiss"),
    Route("shipping", "/shipments"),
    Route("shipping", "/shipments/{shipment_id}"),
    Route("shipping", "/shipments/{shipment_id}/ship"),
    Route("shipping", "/shipments/{shipment_id}/deliver"),
    Route("notification", "/notifications"),
    Route("notification", "/notifications/email"),
    Route("notification", "/notifications/sms"),
    Route("notification", "/notifications/push"),
    Route("notification", "/notifications/{notification_id}"),
    Route("notification", "/templates"),
    Route("notification", "/templates/{name}"),
    Route("notification", "/templates/{name}/preview"),
    *(
        Route(service, template, shared=True)
        for service in HEARING
        for template in (
            "/dead-letters",
            "/dead-letters/replay",
            "/dead-letters/{message_id}",
            "/dead-letters/{message_id}/replay",
            "/dead-letters/{message_id}/discard",
        )
    ),
)

SERVICES: tuple[str, ...] = tuple(dict.fromkeys(route.service for route in ROUTES))

HIDDEN: frozenset[tuple[str, str]] = frozenset(
    {
        ("identity", "/service-token"),
        ("identity", "/contacts"),
        ("order", "/contacts"),
        ("payment", "/payment-methods"),
        ("payment", "/payments/order/{order_id}/hold"),
        ("payment", "/payments/order/{order_id}/terms"),
        ("shipping", "/shipments/cancel"),
        # Outside, this path is the catalog's.
        ("inventory", "/products"),
    }
)
"""What services have and nobody reaches from outside, beside the operations that every one has."""

OPERATIONS = frozenset({"/health", "/ready", "/metrics", "/docs", "/openapi.json"})

_KEPT_INSIDE = OPERATIONS | ({path for _, path in HIDDEN} - {route.template for route in ROUTES})


def find(path: str) -> Route | None:
    """Whose `path` (below the API's prefix) is; None when it is nobody's."""
    if path in _KEPT_INSIDE:
        return None
    candidates = _BY_FIRST_SEGMENT.get(path.split("/", 2)[1], ())
    return next((route for pattern, route in candidates if pattern.fullmatch(path)), None)


def exposed(service: str, template: str) -> Route | None:
    """The route by which a service's own path is reached from outside, whatever it calls its parameters."""
    return _BY_SHAPE.get((service, shape(template)))


def shape(template: str) -> str:
    """A template without the names of its parameters."""
    return _PARAMETER.sub("{}", template)


def is_normal(path: str, raw_path: bytes) -> bool:
    """Whether a path is spelt the one way that is looked up: no empty or dotted segments, no encoded slash."""
    raw = raw_path.lower()
    if b"%2f" in raw or b"%5c" in raw or _UNUSUAL.search(path):
        return False
    first, *segments = path.split("/")
    return not first and all(segment not in {"", ".", ".."} for segment in segments)


def _by_first_segment(routes: Iterable[Route]) -> Mapping[str, list[tuple[re.Pattern[str], Route]]]:
    found: dict[str, list[tuple[re.Pattern[str], Route]]] = defaultdict(list)
    for route in routes:
        template = route.outside(route.template)
        pattern = "[^/]+".join(re.escape(part) for part in _PARAMETER.split(template))
        found[template.split("/", 2)[1]].append((re.compile(pattern), route))
    return dict(found)


_BY_FIRST_SEGMENT = _by_first_segment(ROUTES)
_BY_SHAPE = {(route.service, shape(route.template)): route for route in ROUTES}
