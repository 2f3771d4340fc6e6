"""How addresses are read, and what counts as one."""

from ipaddress import ip_address

import pytest

from orderwright.kernel.addresses import LOOPBACK_NETWORKS, is_within, network_of, read_address


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7:5060 ", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_subscriber_of_ipv6_counts_as_one_address(text: str, network: str) -> None:
    address = read_address(text)
    assert address is not None
    assert network_of(address) == network


@pytest.mark.parametrize("text", ["", "not an address", "unknown", "192.0.2", "1.2.3.4.5", "[", "x" * 1000])
def test_what_is_no_address_is_none(text: str) -> None:
    assert read_address(text) is None


def test_an_address_is_within_the_networks_of_its_own_kind_only() -> None:
    assert is_within(ip_address("127.0.0.9"), LOOPBACK_NETWORKS)
    assert is_within(ip_address("::1"), LOOPBACK_NETWORKS)
    assert not is_within(ip_address("10.0.0.1"), LOOPBACK_NETWORKS)
    assert not is_within(ip_address("::2"), LOOPBACK_NETWORKS)
    assert not is_within(ip_address("::1"), [])
