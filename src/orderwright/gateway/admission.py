"""Whom to believe and what can be answered: true addresses, acceptable requests, bearer tokens.

Invariant: an address that a client claims for itself counts for nothing; X-Forwarded-For is read from the right, over
proxies that are known, and what is passed on is what was found out here.
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

from orderwright.kernel.addresses import LOOPBACK, Address, Network, is_within, read_address
from orderwright.kernel.auth import bearer_token
from orderwright.kernel.errors import BusinessError, Unauthenticated

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
ACCEPTABLE = frozenset(
    {"", "*/*", "application/*", "text/*", "application/json", "application/problem+json", "text/event-stream"}
)

_UNWANTED = re.compile(r";\s*q=0(\.0*)?\s*(;|$)", re.IGNORECASE)


class NotAcceptable(BusinessError):
    status, problem, title = 406, "not-acceptable", "Only JSON is spoken here"


class HeadersTooLarge(BusinessError):
    status, problem, title = 431, "header-fields-too-large", "The headers are too large"


def check_headers(scope: Scope) -> None:
    """HeadersTooLarge for more, or longer, headers than are read."""
    fields = scope["headers"]
    if len(fields) > MAX_HEADERS or sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are read")


def check_acceptable(headers: Headers) -> None:
    """NotAcceptable for a client that would take none of the formats that are spoken here."""
    wanted = [part for value in headers.getlist("accept") for part in value.split(",") if not _UNWANTED.search(part)]
    if "accept" in headers and not any(part.partition(";")[0].strip().lower() in ACCEPTABLE for part in wanted):
        raise NotAcceptable("Accept application/json")


def shown_token(headers: Headers) -> str:
    """The token that a request shows. Unauthenticated without one."""
    token = bearer_token(headers)
    if token is None:
        raise Unauthenticated("Send an access token: `Authorization: Bearer …` from POST /api/v1/login")
    return token


def client_address(scope: Scope, headers: Headers, trusted: Sequence[Network]) -> Address:
    """The address of whoever sent the request, as far as it can be known.

    Each proxy appends whom it heard from, so the rightmost hop is true if our peer is trusted, the next one if that
    hop is, and so on; the first one that is not trusted, or cannot be read, ends it.
    """
    peer = scope.get("client")
    address = (read_address(peer[0]) if peer else None) or LOOPBACK
    hops = [hop for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        if not is_within(address, trusted):
            break
        claimed = read_address(hop)
        if claimed is None:
            break
        address = claimed
    return address
