"""`orderwright broker …`: what waits at the broker, and leaving one for another."""

import sys

from cyclopts import App

broker = App(name="broker", help="The broker that ORDERWRIGHT_BROKER_URL names: what waits there, and emptying it.")


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
