"""The commands. Each is a few lines: what it is for, what it takes, and who does it."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

from cyclopts import App, Parameter

from orderwright import __version__
from orderwright.kernel.errors import BusinessError, OrderwrightError

app = App(
    name="orderwright",
    version=__version__,
    help="An event-driven order platform: from cart to delivery, with money, stock and promises kept in step.",
)
dead_letters = App(
    name="dead-letters", help="Messages that could not be handled: look at them, try them again, or let them be."
)
users = App(
    name="users", help="Accounts and roles, straight in identity's database: the first administrator is made here."
)
broker = App(name="broker", help="The broker that ORDERWRIGHT_BROKER_URL names: what waits there, and emptying it.")
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

    await rebuild_all_orders()


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


@dead_letters.command(name="list")
async def list_dead_letters(
    service: Service = None,
    *,
    topic: str | None = None,
    key: str | None = None,
    state: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> None:
    """List messages that are still to be handled: dead, tried again, or parked behind one of these.

    Parameters
    ----------
    topic
        Only of that topic.
    key
        Only with that key: an order's id, a product's id, ….
    state
        Only dead, retrying or parked; handled and discarded are those that somebody has settled.
    limit
        How many of each service, the newest first.
    before
        Only what is older than the message with this id, to go on where a list ended.
    """
    from orderwright.cli.deadletters import list_kept

    await list_kept(service, state=state, topic=topic, key=key, limit=limit, before=before)


@dead_letters.command
async def show(message_id: str) -> None:
    """Show one: the event, the order, the trace, every attempt and its error, and what people did to it."""
    from orderwright.cli.deadletters import show_kept

    await show_kept(message_id)


@dead_letters.command
async def replay(
    *message_ids: str,
    service: Service = None,
    topic: str | None = None,
    key: str | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_: Annotated[str | None, Parameter(name="--as")] = None,
) -> None:
    """Try dead letters again, now. What fails again stays a dead letter; replaying one twice handles it once.

    Parameters
    ----------
    message_ids
        Which ones; or use --topic, --key or --all.
    topic
        Every dead letter of that topic.
    key
        Every dead letter with that key.
    all_
        Every dead letter.
    dry_run
        Only tell what would happen: the handler runs in a transaction that is rolled back.
    as_
        Who does it, for the record; by default the user of this machine.
    """
    from orderwright.cli.deadletters import replay_kept

    await replay_kept(list(message_ids), service, topic=topic, key=key, every=all_, dry_run=dry_run, who=as_)


@dead_letters.command
async def discard(message_id: str, *, reason: str, as_: Annotated[str | None, Parameter(name="--as")] = None) -> None:
    """Never handle a message; what is parked behind it goes on.

    Parameters
    ----------
    reason
        Why, for the record.
    as_
        Who does it, for the record; by default the user of this machine.
    """
    from orderwright.cli.deadletters import discard_kept

    await discard_kept(message_id, reason=reason, who=as_)


@broker.command(name="status")
async def broker_status() -> None:
    """Tell what each service has still to handle at the broker. Changes nothing.

    Exits with 0 when nothing is left, 1 when something is, 2 when the broker does not answer.
    """
    from orderwright.cli.broker import show_backlog

    sys.exit(await show_backlog())


@broker.command(name="drain")
async def drain_broker(*, timeout: float = 0.0) -> None:
    """Handle what a broker still holds that the platform has left, until nothing is left there.

    What follows from it is sent by the platform, to the broker that it is on now. Exits like `status`.

    Parameters
    ----------
    timeout
        Give up after so many seconds; 0: never.
    """
    from orderwright.cli.broker import drain

    sys.exit(await drain(timeout_s=timeout))


@users.command(name="add")
async def add_user(email: str, *, role: list[str] | None = None) -> None:
    """Make an account; the password is asked for, or read from standard input.

    Parameters
    ----------
    email
        What to log in with.
    role
        customer, staff or admin; give it several times for several.
    """
    from orderwright.cli.operate import add_account

    await add_account(email, role or ["customer"])


@users.command(name="roles")
async def set_user_roles(email: str, *roles: str) -> None:
    """Give an account exactly these roles."""
    from orderwright.cli.operate import set_account_roles

    await set_account_roles(email, list(roles))


@users.command(name="list")
async def list_users() -> None:
    """List accounts."""
    from orderwright.cli.operate import list_accounts

    await list_accounts()


@users.command(name="token")
async def integration_token(name: str, *, role: str = "service", days: int = 30) -> None:
    """Print an access token for an integration, which cannot log in.

    Parameters
    ----------
    name
        Whom it stands for, in logs and on orders.
    role
        service, customer, staff or admin.
    days
        How long it is valid.
    """
    from orderwright.cli.operate import issue_token

    await issue_token(name, role, days)


@users.command
async def rotate_keys() -> None:
    """Sign with a new key from now on; what the old one signed stays valid until it expires."""
    from orderwright.cli.operate import rotate_signing_keys

    await rotate_signing_keys()


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
