"""Which path belongs to which service, and which need no token.

Invariant: what is not in this table does not exist outside; the services' own operations and their routes for each
other are not in it. Only a path in normal form is looked up, so no spelling of a path leads anywhere else.
"""

import re
from dataclasses import dataclass

API = "/api/v1"

_ID = r"[^/]+"


@dataclass(frozen=True, slots=True)
class Route:
    """One part of the API."""

    service: str
    pattern: re.Pattern[str]
    public_methods: frozenset[str] = frozenset()
    guessable: bool = False
    """Somebody might guess secrets here: a stricter limit."""


def _route(service: str, pattern: str, *public: str, guessable: bool = False) -> Route:
    return Route(service, re.compile(pattern), frozenset(public), guessable)


ROUTES: tuple[Route, ...] = (
    _route("identity", r"/(login|register|refresh)", "POST", guessable=True),
    _route("identity", r"/logout", "POST"),
    _route("identity", r"/\.well-known/jwks\.json", "GET", "HEAD"),
    _route("identity", rf"/(me|me/password|users|users/{_ID}|users/{_ID}/(roles|disable|enable))"),
    _route("inventory", rf"/products/{_ID}/stock", "GET", "HEAD"),
    _route("inventory", r"/stock", "GET", "HEAD"),
    _route("inventory", rf"/(check-availability|reservations|reservations/{_ID}|warehouses|warehouses/{_ID})"),
    _route("catalog", rf"/products(/{_ID})?", "GET", "HEAD"),
    _route("cart", rf"/carts/{_ID}(/items(/{_ID})?|/checkout)?"),
    _route("order", rf"/orders(/customer/{_ID}|/{_ID}(/(cancel|status|events|saga|saga/push|stream))?)?"),
    _route("payment", rf"/payments(/order/{_ID}|/{_ID}(/refunds?)?)?"),
    _route("payment", rf"/webhooks/{_ID}", "POST"),
    _route("shipping", rf"/shipments(/(?!cancel$){_ID}(/(ship|deliver))?)?"),
    _route("notification", rf"/(notifications|notifications/{_ID}|templates|templates/{_ID}(/preview)?)"),
)


def find(path: str) -> Route | None:
    """Whose `path` (below the API's prefix) is; None when it is nobody's."""
    return next((route for route in ROUTES if route.pattern.fullmatch(path)), None)


def is_normal(path: str, raw_path: bytes) -> bool:
    """Whether a path is spelt the one way that is looked up: no empty or dotted segments, no encoded slash."""
    if b"%2f" in raw_path.lower() or b"%5c" in raw_path.lower() or "\\" in path:
        return False
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return False
    segments = path.split("/")[1:]
    return all(segment not in {"", ".", ".."} for segment in segments)
