"""Whom to believe and what can be answered: true addresses, acceptable requests, bearer tokens.

Invariant: an address that a client claims for itself counts for nothing; X-Forwarded-For is read from the right, over
proxies that are known, and what is passed on is what was found out here.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from orderwright.kernel.errors import BusinessError, Unauthenticated

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
ACCEPTABLE = frozenset(
    {"", "*/*", "application/*", "text/*", "application/json", "application/problem+json", "text/event-stream"}
)
LOOPBACK = IPv4Address("127.0.0.1")
IPV6_SUBSCRIBER_BITS = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

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


def bearer_token(headers: Headers) -> str:
    """The token that a request shows. Unauthenticated without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send an access token: `Authorization: Bearer …` from POST /api/v1/login")
    return token.strip()


def client_address(scope: Scope, headers: Headers, trusted: Sequence[Network]) -> Address:
    """The address of whoever sent the request, as far as it can be known.

    Each proxy appends whom it heard from, so the rightmost hop is true if our peer is trusted, the next one if that
    hop is, and so on; the first one that is not trusted, or cannot be read, ends it.
    """
    peer = scope.get("client")
    address = (_read_address(peer[0]) if peer else None) or LOOPBACK
    hops = [hop for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        if not any(address in network for network in trusted):
            break
        claimed = _read_address(hop)
        if claimed is None:
            break
        address = claimed
    return address


def network_of(address: Address) -> str:
    """What counts as one address: an IPv6 subscriber has a whole /64."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), IPV6_SUBSCRIBER_BITS), strict=False))
    return str(address)


def _read_address(text: str) -> Address | None:
    """`1.2.3.4`, `1.2.3.4:56`, `2001:db8::1` or `[2001:db8::1]:56`; an IPv4 address in IPv6 is the IPv4 address."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
