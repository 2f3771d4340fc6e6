"""Time, ids and randomness are handed in, so that a whole platform runs in a seeded simulation."""

import re

import pytest

from tests.architecture.tree import Breach, assert_holds, files, full_names

SOURCES = ["src/orderwright/kernel/clock.py", "src/orderwright/kernel/ids.py"]

INSTEAD = {
    r"time\.(time|monotonic|perf_counter)(_ns)?|time\.sleep": "ask the Clock that was handed in",
    r"datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today": "ask the Clock that was handed in",
    r"uuid\.uuid[1467]|uuid_utils(\.compat)?\.uuid[1467]": "ask the Ids that were handed in",
    r"random\.\w+(\.\w+)*|os\.urandom": "ask the Ids that were handed in",
    r"secrets\.\w+": "ask the Ids that were handed in (to compare secrets: hmac.compare_digest)",
}


def own_time_and_chance(source: str) -> list[Breach]:
    """Uses of the machine's clock, ids and randomness."""
    return [
        Breach(line, f"{name} cannot be replayed; {instead}")
        for line, name in sorted(set(full_names(source)))
        for pattern, instead in INSTEAD.items()
        if re.fullmatch(pattern, name)
    ]


def test_time_ids_and_randomness_come_from_the_kernel() -> None:
    assert_holds(own_time_and_chance, files("src/**/*.py", but=SOURCES))


def test_the_places_that_may_do_use_the_machine() -> None:
    for path in files(*SOURCES):
        assert own_time_and_chance(path.read_text()), (
            f"{path} is no source of time or chance any more; take it off the list"
        )


@pytest.mark.parametrize(
    "bad",
    [
        "import time\nx = time.time()",
        "from time import time as now\nx = now()",
        "from datetime import UTC, datetime\nx = datetime.now(UTC)",
        "import datetime as dt\nx = dt.datetime.utcnow()",
        "import uuid\nField(default_factory=uuid.uuid4)",
        "from uuid import uuid4\nx = uuid4()",
        "from random import random\nx = random()",
        "def f():\n    import secrets\n    return secrets.token_hex()",
    ],
)
def test_the_machines_own_time_and_chance_are_found(bad: str) -> None:
    assert own_time_and_chance(bad)


def test_what_is_handed_in_or_derived_passes() -> None:
    good = "import time\nimport uuid\nfrom datetime import datetime\n"
    good += "x = clock.now(), ids.new(), uuid.uuid5(a, b), datetime.fromisoformat(t), time.strftime(f), dice.random()\n"
    assert own_time_and_chance(good) == []
