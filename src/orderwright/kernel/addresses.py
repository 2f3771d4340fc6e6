"""IP addresses of those who ask: how one is read, what counts as one, and who may speak for another.

Invariant: whoever counts or believes by address reads it here, so that the gateway and the services mean the same.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK = IPv4Address("127.0.0.1")
LOOPBACK_NETWORKS: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
IPV6_SUBSCRIBER_BITS = 64


def read_address(text: str) -> Address | None:
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


def network_of(address: Address) -> str:
    """What counts as one address: an IPv6 subscriber has a whole /64."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), IPV6_SUBSCRIBER_BITS), strict=False))
    return str(address)


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether `address` is in one of `networks`."""
    return any(address in network for network in networks)
