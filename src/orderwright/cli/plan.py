"""Which services run in this process, where they listen, and where the others are."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from orderwright.contracts import audience
from orderwright.kernel.addressing import read_origins
from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.platform import GATEWAY, Plan
from orderwright.kernel.settings import ALL_ROLES, PREFIX, PlatformSettings, Role
from orderwright.services import PORTS, SERVICES

GATEWAY_MAKER = "orderwright.gateway.manifest:assemble"


def make_plan(
    names: Sequence[str],
    settings: PlatformSettings,
    *,
    ports: Mapping[str, int] | None = None,
    roles: frozenset[Role] = ALL_ROLES,
    shares_ports: bool = False,
) -> Plan:
    """A plan to run `names` here. ConfigurationError for a name that nobody has, or an address that is none."""
    unknown = sorted(set(names) - set(PORTS))
    if unknown:
        raise ConfigurationError(f"There is no service {unknown[0]!r}; there are {', '.join(PORTS)}")
    return Plan(
        manifests={name: load(SERVICES[name]) for name in SERVICES if name in names},
        addresses={name: (_host(name, settings), _port(name, ports, roles)) for name in PORTS if name in names},
        urls={name: _url(name) for name in SERVICES if name not in names},
        gateway=load(GATEWAY_MAKER) if GATEWAY in names else None,
        audience=audience(),
        roles=roles,
        shares_ports=shares_ports,
    )


def load(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _host(name: str, settings: PlatformSettings) -> str:
    return os.environ.get(f"{PREFIX}{name.upper()}_HOST", settings.host)


def roles_of(text: str) -> frozenset[Role]:
    """The roles in a list such as `api,worker`. ConfigurationError for one that does not exist."""
    named = frozenset(filter(None, (part.strip() for part in text.split(","))))
    unknown = sorted(named - ALL_ROLES)
    if unknown or not named:
        known = ", ".join(sorted(ALL_ROLES))
        raise ConfigurationError(f"There is no role {unknown[0] if unknown else text!r}; there are {known}")
    return frozenset(role for role in ALL_ROLES if role in named)


def _port(name: str, ports: Mapping[str, int] | None, roles: frozenset[Role]) -> int:
    if ports is not None:
        return ports.get(name, 0)
    given = os.environ.get(f"{PREFIX}{name.upper()}_PORT")
    if given is None:
        # The service's own port is for those who answer requests; a worker tells of its health on any free one.
        return PORTS[name] if "api" in roles or name == GATEWAY else 0
    if not (given.isascii() and given.isdigit() and int(given) < 65_536):
        raise ConfigurationError(f"{PREFIX}{name.upper()}_PORT is {given!r}; a port is a number up to 65535")
    return int(given)


def _url(name: str) -> str:
    url = os.environ.get(f"{PREFIX}{name.upper()}_URL", f"http://127.0.0.1:{PORTS[name]}")
    # Now, and not when somebody first asks the service.
    read_origins(name, url)
    return url
