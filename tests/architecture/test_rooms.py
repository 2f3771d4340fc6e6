"""Every service has the same rooms, so that whoever knows one service finds everything in the next.

The import contract holds this for what can be imported; this holds it for whatever else lies in the folder.
"""

from collections.abc import Iterable

import pytest

from tests.architecture.tree import PACKAGE, ROOT

ROOMS = [
    "manifest",
    "api",
    "handlers",
    "sagas",
    "actions",
    "store",
    "providers",
    "tables",
    "migrations",
    "domain",
    "settings",
]


def strange_rooms(entries: Iterable[str]) -> list[str]:
    """Names in a service's folder that are no room's."""
    right = {f"{room}.py" for room in ROOMS} | set(ROOMS) | {"__init__.py", "__pycache__"}
    return sorted(set(entries) - right)


def test_every_service_has_the_same_rooms() -> None:
    services = sorted(path for path in (ROOT / PACKAGE / "services").iterdir() if (path / "__init__.py").exists())
    assert services, "no services: the rule looks in the wrong place"
    told = [
        f"{service.relative_to(ROOT)}/{name}: a service has no such room; the rooms are {', '.join(ROOMS)}"
        for service in services
        for name in strange_rooms(entry.name for entry in service.iterdir())
    ]
    assert not told, "\n" + "\n".join(told)


@pytest.mark.parametrize("name", ["utils.py", "models.py", "service.py", "helpers", "README.md"])
def test_a_strange_room_is_found(name: str) -> None:
    assert strange_rooms(["__init__.py", "manifest.py", "domain", name]) == [name]
