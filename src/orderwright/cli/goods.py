"""The demo: a catalog to play with, and one login for each role.

Invariant: demo logins exist only where the demo was asked for, and the demo listens on loopback only. Their passwords
are drawn once for each data folder and kept in `demo-logins.json`, which only its owner can read.
"""

import asyncio
import ipaddress
import json
from collections.abc import MutableMapping
from decimal import Decimal
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from orderwright.kernel.errors import ConfigurationError
from orderwright.kernel.ids import Ids, SystemIds
from orderwright.kernel.platform import Platform
from orderwright.kernel.secretfile import write_private
from orderwright.kernel.settings import PREFIX, PlatformSettings
from orderwright.kernel.unit import Units
from orderwright.services.catalog import actions as catalog
from orderwright.services.catalog.domain import NewProduct
from orderwright.services.catalog.tables import products as catalog_products
from orderwright.services.identity import store as identity_store
from orderwright.services.identity.actions import accounts
from orderwright.services.identity.settings import IdentitySettings

LOGINS_FILE = "demo-logins.json"
STOCKED_WITHIN_S = 5.0
"""So long a start waits at most for the demo's goods to be heard of everywhere; it goes on without, too."""
LOOK_EVERY_S = 0.02
ROLES = {"customer": ["customer"], "staff": ["customer", "staff"], "admin": ["customer", "staff", "admin"]}

_SEEDS = (
    ("product-123", "Walnut desk organiser", "29.99", 500, "office"),
    ("product-456", "Linen notebook, A5", "19.99", 500, "office"),
    ("product-789", "Brass page marker", "9.99", 50, "office"),
)
_RANGE = {
    "kitchen": (
        ("Stoneware mug", "12.50"),
        ("Cast iron pan, 24 cm", "44.00"),
        ("Oak chopping board", "34.90"),
        ("Glass teapot", "27.00"),
        ("Linen tea towels, three", "18.00"),
        ("Pepper mill", "23.50"),
        ("Set of four bowls", "39.00"),
        ("Bread knife", "31.00"),
        ("Salt pig", "16.00"),
    ),
    "living": (
        ("Wool throw", "79.00"),
        ("Beeswax candle", "14.00"),
        ("Terracotta pot", "11.00"),
        ("Cork coasters, six", "9.50"),
        ("Cushion, indigo", "36.00"),
        ("Reading lamp", "89.00"),
        ("Magazine rack", "42.00"),
        ("Wall clock", "58.00"),
        ("Jute rug, 80 x 150", "64.00"),
    ),
    "outdoors": (
        ("Enamel camping cup", "8.90"),
        ("Folding stool", "33.00"),
        ("Picnic blanket", "49.00"),
        ("Steel water bottle", "24.00"),
        ("Canvas rucksack", "118.00"),
        ("Garden gloves", "13.00"),
        ("Hand trowel", "17.50"),
        ("Watering can, 5 l", "28.00"),
        ("Storm lantern", "38.00"),
    ),
    "paper": (
        ("Letter paper, 50 sheets", "15.00"),
        ("Fountain pen", "52.00"),
        ("Ink, bottle", "13.50"),
        ("Pencils, dozen", "11.50"),
        ("Wall calendar", "19.00"),
        ("Sketchbook, A4", "22.00"),
        ("Sealing wax", "7.50"),
        ("Ruler, maple", "6.80"),
        ("Postcards, ten", "9.00"),
    ),
}


def products(currency: str) -> list[NewProduct]:
    """What the demo sells: the three products of the source documents, and a few dozen more."""
    listed = [
        NewProduct(id_, name, Decimal(price), currency, n, None, category) for id_, name, price, n, category in _SEEDS
    ]
    for category, goods in _RANGE.items():
        for number, (name, price) in enumerate(goods, start=1):
            product_id = f"{category}-{number:03d}"
            listed.append(NewProduct(product_id, name, Decimal(price), currency, 200, None, category))
    return listed


def prepare(environment: MutableMapping[str, str]) -> None:
    """What a demo has on beside the defaults, unless the environment says otherwise: the sandbox's webhooks."""
    environment.setdefault(f"{PREFIX}PAYMENT_SANDBOX_WEBHOOKS", "true")


def check_loopback(platform: Platform) -> None:
    """ConfigurationError when the demo would listen where others can reach it."""
    for name, (host, _) in platform.plan.addresses.items():
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ConfigurationError(
                f"The demo has logins that anybody could know, so it listens on loopback only; {name} is set to {host}"
            )


async def stock_up(platform: Platform) -> dict[str, dict[str, str]]:
    """Put the demo's goods and people into a platform that runs here, and have every service hear of them.

    Answers the logins by role. Without the wait the first order could come too early, and what services log about the
    goods would push what is printed next off the screen.
    """
    units = platform.runtimes["catalog"].units
    logins = await fill(platform.settings, units, platform.runtimes["identity"].units)
    give_up_s = units.clock.monotonic_s() + STOCKED_WITHIN_S
    while await units.glance(_some_unheard) and units.clock.monotonic_s() < give_up_s:
        await units.clock.sleep(LOOK_EVERY_S)
    return logins


def _some_unheard(connection: sa.Connection) -> bool:
    """Whether the inventory has not yet told the catalog how many there are of something."""
    ours = catalog_products.c.id.in_([product.id for product in products("USD")])
    unheard = sa.select(catalog_products.c.id).where(
        ours, catalog_products.c.quantity_at.is_(None), sa.not_(catalog_products.c.deleted)
    )
    return connection.execute(unheard.limit(1)).first() is not None


async def fill(settings: PlatformSettings, catalog_units: Units, identity_units: Units) -> dict[str, dict[str, str]]:
    """Put the demo's goods and people in, where they are not there yet; answers the logins by role."""
    currency = settings.currency
    await catalog_units.run(lambda uow: catalog.create_products(uow, products(currency), currency))
    path = settings.data_dir / LOGINS_FILE
    logins = read_logins(path) or _new_logins(SystemIds())
    await _people(logins, identity_units)
    write_private(path, json.dumps(logins, indent=2))
    return logins


async def _people(logins: dict[str, dict[str, str]], units: Units) -> None:
    settings = IdentitySettings()
    for role, login in logins.items():
        email = login["email"]
        if await units.read(partial(identity_store.credentials, email=email)) is not None:
            continue
        password_hash = await asyncio.to_thread(accounts.hash_password, login["password"], settings)
        create = partial(accounts.create_account, email=email, password_hash=password_hash, roles=ROLES[role])
        await units.run(partial(create, name=f"Demo {role}"))


def read_logins(path: Path) -> dict[str, dict[str, str]] | None:
    """The logins in `path`; None when there is no such file."""
    if not path.exists():
        return None
    logins: dict[str, dict[str, str]] = json.loads(path.read_text())
    return logins


def _new_logins(ids: Ids) -> dict[str, dict[str, str]]:
    return {role: {"email": f"{role}@example.com", "password": ids.secret(12)} for role in ROLES}
