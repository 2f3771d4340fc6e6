"""The files of `deploy/`, read the way that their tools read them."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from orderwright.cli.reference import settings_document
from orderwright.services import PORTS
from tests.architecture.tree import ROOT

DEPLOY = ROOT / "deploy"
BROKERS = ("kafka", "rabbitmq", "redis")
ASKED = re.compile(r"\$\{(\w+)(:?[-?])?[^}]*\}")
"""A variable that compose fills in, and whether it has a default (`-`) or is refused to be without (`?`)."""

Services = dict[str, dict[str, Any]]


def services_of(name: str) -> Services:
    """The services of a compose file."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    services: Services = document["services"]
    return services


def env_file(name: str) -> dict[str, str]:
    """The lines `NAME=value` of a file."""
    lines = (DEPLOY / name).read_text().splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines if line and line[0] != "#")}


def environments(services: Services) -> Iterator[tuple[str, str, str]]:
    """Service, name and value of every variable that is set there."""
    for service, what in services.items():
        for name, value in what.get("environment", {}).items():
            yield service, name, str(value)


def known_settings() -> set[str]:
    """Every variable that orderwright reads."""
    listed = set(re.findall(r"`(ORDERWRIGHT_\w+)`", settings_document()))
    return listed | {f"ORDERWRIGHT_{service.upper()}_{what}" for service in PORTS for what in ("PORT", "HOST", "URL")}
