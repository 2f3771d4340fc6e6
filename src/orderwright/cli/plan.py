"""Which services run in this process, where they listen, and where the others are."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.platform import GATEWAY, Plan
from orderwright.kernel.settings import PREFIX, PlatformSettings
from orderwright.services import PORTS, SERVICES

GATEWAY_MAKER = "orderwright.gateway.manifest:assemble"


def make_plan(names: Sequence[str], settings: PlatformSettings, *, ports: Mapping[str, int] | None = None) -> Plan:
    """A plan to run `names` here. ConfigurationError for a name that nobody has, or an address that is none."""
    unknown = sorted(set(names) - set(PORTS))
    if unknown:
        raise ConfigurationError(f"There is no service {unknown[0]!r}; there are {', '.join(PORTS)}")
    return Plan(
        manifests={name: load(SERVICES[name]) for name in SERVICES if name in names},
        addresses={name: (_host(name, settings), _port(name, ports)) for name in PORTS if name in names},
        urls={name: _url(name) for name in SERVICES if name not in names},
        gateway=load(GATEWAY_MAKER) if GATEWAY in names else None,
    )


def load(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _host(name: str, settings: PlatformSettings) -> str:
    return os.environ.get(f"{PREFIX}{name.upper()}_HOST", settings.host)


def _port(name: str, ports: Mapping[str, int] | None) -> int:
    if ports is not None:
        return ports.get(name, 0)
    given = os.environ.get(f"{PREFIX}{name.upper()}_PORT")
    if given is None:
        return PORTS[name]
    if not (given.isascii() and given.isdigit() and int(given) < 65_536):
        raise ConfigurationError(f"{PREFIX}{name.upper()}_PORT is {given!r}; a port is a number up to 65535")
    return int(given)


def _url(name: str) -> str:
    return os.environ.get(f"{PREFIX}{name.upper()}_URL", f"http://127.0.0.1:{PORTS[name]}")
