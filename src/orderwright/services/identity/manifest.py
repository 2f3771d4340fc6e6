"""Identity: who somebody is, how they prove it, and what they may do."""

from datetime import timedelta
from pathlib import Path

from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.kernel.unit import UnitOfWork
from orderwright.services.identity import store
from orderwright.services.identity.actions import keys
from orderwright.services.identity.api import router
from orderwright.services.identity.api.desk import IdentityDesk
from orderwright.services.identity.settings import IdentitySettings

KEEP_EVERY_S = 3600.0
ATTEMPTS_LIVE = timedelta(days=1)


def assemble(kit: Kit) -> Service:
    """The identity service, ready to run."""
    settings = IdentitySettings()
    desk = IdentityDesk(kit, settings)

    async def keep_keys_fresh() -> bool:
        await kit.units.run(lambda uow: keys.keep_fresh(uow, settings))
        return False

    async def start() -> None:
        await keep_keys_fresh()
        await desk.signing_key()

    async def forget() -> bool:
        def work(uow: UnitOfWork) -> int:
            forgotten = store.forget_attempts(uow.connection, uow.now - ATTEMPTS_LIVE)
            return forgotten + store.forget_sessions(uow.connection, uow.now)

        return await kit.units.run(work) > 0

    return Service(
        name="identity",
        port=8008,
        summary="Accounts, log-ins, tokens and roles.",
        migrations=Path(__file__).parent / "migrations",
        router=router(),
        desk=desk,
        jobs=(Job("keep-keys-fresh", keep_keys_fresh, KEEP_EVERY_S), Job("forget-sessions", forget, KEEP_EVERY_S)),
        on_start=(start,),
    )
