"""The commands. Each is a few lines: what it is for, what it takes, and who does it."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

from cyclopts import App, Parameter

from orderwright import __version__
from orderwright.cli.groups.broker import broker
from orderwright.cli.groups.deadletters import dead_letters
from orderwright.cli.groups.users import users
from orderwright.kernel.errors import BusinessError, OrderwrightError

app = App(
    name="orderwright",
    version=__version__,
    help="An event-driven order platform: from cart to delivery, with money, stock and promises kept in step.",
)
app.command(broker)
app.command(dead_letters)
app.command(users)

Service = Annotated[str | None, Parameter(help="One service; all of them when left out")]


@app.command
def up(*, demo: bool = False) -> None:
    """Run the whole platform in this process: every service and the gateway.

    Parameters
    ----------
    demo
        Load a catalog to play with and one login for each role; listens on this machine only.
    """
    from orderwright.cli.plan import make_plan
    from orderwright.cli.up import run_until_stopped
    from orderwright.kernel.settings import PlatformSettings
    from orderwright.services import PORTS

    settings = PlatformSettings()
    _serve(run_until_stopped(make_plan(list(PORTS), settings), settings, demo=demo))


@app.command
def run(
    *services: str,
    role: str = "api,worker,relay,jobs",
    workers: int = 1,
    separate: bool = False,
    shared_ports: Annotated[bool, Parameter(show=False)] = False,
    lifeline: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Run some of the services in this process (`all` for every one); the others are reached by their URLs.

    Parameters
    ----------
    services
        Names such as `order payment`, or `gateway`. ORDERWRIGHT_<SERVICE>_URL says where the others are.
    role
        What to do for them: any of api, worker, relay, jobs, with commas between.
    workers
        So many copies, which share the ports; needs a broker that processes can meet at.
    separate
        Each service in a process of its own.
    """
    from orderwright.cli.plan import make_plan, roles_of
    from orderwright.cli.supervisor import Supervisor, commands
    from orderwright.cli.up import run_until_stopped
    from orderwright.kernel.errors import ConfigurationError
    from orderwright.kernel.settings import PlatformSettings
    from orderwright.services import PORTS

    if not services:
        raise ConfigurationError(f"Name the services to run, or `all`; there are {', '.join(PORTS)}")
    names, settings = list(PORTS) if services == ("all",) else list(services), PlatformSettings()
    plan = make_plan(names, settings, roles=roles_of(role), shares_ports=shared_ports)
    if workers == 1 and not separate:
        _serve(run_until_stopped(plan, settings, lifeline=lifeline))
    else:
        children = commands(names, role, workers=workers, separate=separate, broker_url=settings.broker_url)
        _serve(Supervisor(children, settings).run())


@app.command
async def migrate(service: Service = None) -> None:
    """Bring the databases to the newest schema. The embedded mode does it by itself at every start."""
    from orderwright.cli.operate import migrate_all

    await migrate_all(service)


@app.command
async def demo(*, url: str = "http://127.0.0.1:8000") -> None:
    """Place one order and print each step, event and state as it happens.

    Parameters
    ----------
    url
        The gateway of a running demo; if none answers there, a platform is started just for this.
    """
    from orderwright.cli.demo import show_one_order

    await show_one_order(url)


@app.command
async def load_demo() -> None:
    """Put the demo's goods and one login for each role into the databases, beside services that run elsewhere."""
    from orderwright.cli.operate import load_demo as load
    from orderwright.cli.up import show_logins
    from orderwright.kernel.settings import PlatformSettings

    show_logins(await load(PlatformSettings()))


@app.command
async def rebuild_orders() -> None:
    """Make the order service's projections anew from the orders' histories. Safe beside a running platform."""
    from orderwright.cli.operate import rebuild_all_orders
    from orderwright.kernel.clock import SystemClock

    await rebuild_all_orders(SystemClock())


@app.command
async def reconcile(
    *, every: float = 0.0, json: bool = False, settle: float | None = None, grace: float | None = None
) -> None:
    """Compare the books of all services and of the sandbox. Safe beside a running platform; changes nothing.

    Exits with 0 when they agree, 1 when they do not, 2 when they cannot be read.

    Parameters
    ----------
    every
        Do it again every so many seconds, until it is stopped.
    json
        One JSON document for each audit.
    settle
        A difference counts when it is still there so many seconds later (ORDERWRIGHT_AUDIT_SETTLE_S).
    grace
        What changed within so many seconds is under way and not judged (ORDERWRIGHT_AUDIT_GRACE_S).
    """
    from orderwright.cli.reconcile import reconcile as compare

    sys.exit(await compare(every_s=every, as_json=json, settle_s=settle, grace_s=grace))


@app.command
def routes() -> None:
    """List every route of every service."""
    from orderwright.cli.reference import print_routes

    print_routes()


@app.command
def events() -> None:
    """List every event: its topic, who says it, and who hears it."""
    from orderwright.cli.reference import print_events

    print_events()


@app.command
def settings() -> None:
    """List every setting: its name, its default, and what it is for."""
    from orderwright.cli.reference import settings_document

    sys.stdout.write(settings_document())


def _serve(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, which answers a fifth more requests a second than asyncio's own loop."""
    import uvloop

    uvloop.run(work)


def main() -> None:
    """The console script."""
    try:
        result = app()
        if asyncio.iscoroutine(result):
            asyncio.run(result)
    except BusinessError as error:
        sys.exit(f"orderwright: {error.detail}")
    except OrderwrightError as error:
        sys.exit(f"orderwright: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
