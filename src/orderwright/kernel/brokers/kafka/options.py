"""What a `kafka://` URL says, read strictly: `kafka://[user:password@]host[:port][,host[:port]…][?option=value&…]`.

Invariant: a URL that makes no sense is refused before anything connects, and its password appears in no message.
Security is handed on to the client as it is and tested as far as the reading of the URL; with TLS the server's
certificate is checked against the system's authorities, or those that SSL_CERT_FILE names.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from orderwright.kernel.errors import ConfigurationError

DEFAULT_PORT = 9092
SECURITY = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
KNOWN = ("mechanism", "partitions", "prefix", "replication", "security", "session_timeout_s")
URL = re.compile(r"kafka://([^/?#]*)/*(?:\?([^#]*))?#?", re.IGNORECASE)
"""Authority and query (RFC 3986, appendix B).

Not `urlsplit`: newer Pythons refuse lists that name an IPv6 address after another server.
"""
HOST = re.compile(r"\[[^\[\]]+\]|[^\[\]:\s]+")
"""A name, an IPv4 address, or an IPv6 address in brackets."""
NAME = re.compile(r"[A-Za-z0-9._-]{0,100}")
"""What a topic's name may be made of."""


@dataclass(frozen=True, slots=True)
class Options:
    """A broker's URL, understood."""

    servers: tuple[str, ...]
    prefix: str = ""
    """Stands before the name of each topic and group."""
    partitions: int = 6
    """Of a topic that is made; more consumers than this in a group have nothing to do."""
    replication: int | None = None
    """Copies of a topic that is made; None for what the cluster gives by default."""
    session_timeout_s: int = 15
    """After so long without a sign of life a consumer's partitions go to others."""
    security: str = "plaintext"
    mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def for_client(self, request_timeout_s: float) -> dict[str, Any]:
        """What every client of the library is made with."""
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": "orderwright",
            "request_timeout_ms": int(request_timeout_s * 1000),
            "security_protocol": self.security.upper(),
            "ssl_context": ssl.create_default_context() if self.security.endswith("ssl") else None,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }


def parsed(url: str) -> Options:
    """The options that `url` carries. ConfigurationError when one is unknown or makes no sense."""
    parts = URL.fullmatch(url)
    if parts is None:
        raise ConfigurationError("A kafka:// URL has no path: write kafka://host:port[,host:port]?option=value")
    authority, query = parts.groups(default="")
    credentials, _, hosts = authority.rpartition("@")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(given) - set(KNOWN)):
        raise ConfigurationError(f"The kafka:// URL has the option {unknown[0]!r}; known are {', '.join(KNOWN)}")
    prefix = given.get("prefix", "")
    if not NAME.fullmatch(prefix):
        raise ConfigurationError(
            f"prefix={prefix!r}: Kafka's names are up to 100 letters, digits, '.', '_' or '-' here"
        )
    security = _one_of("security", given.get("security", "plaintext").lower(), SECURITY)
    username, password = _credentials(credentials, needed=security.startswith("sasl"))
    return Options(
        servers=tuple(_server(host) for host in hosts.split(",")),
        prefix=prefix,
        partitions=_whole(given, "partitions", 6, 1, 10_000),
        replication=_whole(given, "replication", 1, 1, 100) if "replication" in given else None,
        session_timeout_s=_whole(given, "session_timeout_s", 15, 1, 1800),
        security=security,
        mechanism=_one_of("mechanism", given.get("mechanism", "PLAIN").upper(), MECHANISMS),
        username=username,
        password=password,
    )


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{text!r} is no Kafka server: write kafka://host:port[,host:port]")
    return f"{host}:{int(port)}"


def _credentials(text: str, *, needed: bool) -> tuple[str | None, str | None]:
    if bool(text) != needed:
        raise ConfigurationError(
            "A kafka:// URL with security=sasl_plaintext or sasl_ssl names user:password@, and no other does"
        )
    if not needed:
        return None, None
    username, _, password = text.partition(":")
    return unquote(username), unquote(password)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigurationError(f"The kafka:// URL has {name}={value!r}; known are {', '.join(known)}")
    return value


def _whole(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise ConfigurationError(f"The kafka:// URL has {name}={text!r}; it is a number from {least} to {most}")
    return int(text)
