"""`orderwright users …`: accounts, roles, tokens and keys."""

from cyclopts import App

users = App(
    name="users", help="Accounts and roles, straight in identity's database: the first administrator is made here."
)


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
