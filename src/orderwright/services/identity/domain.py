"""Accounts, what makes a password acceptable, and how long guessing has to wait."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from orderwright.kernel.errors import Invalid

ROLES = frozenset({"customer", "staff", "admin"})
"""What an account can have; `service` is for services alone."""
MIN_PASSWORD, MAX_PASSWORD = 8, 256
COMMON_PASSWORDS = frozenset(
    {
        "password",
        "password1",
        "password123",
        "12345678",
        "123456789",
        "1234567890",
        "qwertyui",
        "qwerty123",
        "11111111",
        "00000000",
        "iloveyou",
        "letmein1",
        "football",
        "baseball",
        "sunshine",
        "princess",
        "superman",
        "trustno1",
        "abc12345",
        "changeme",
    }
)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in."""

    id: str
    email: str
    name: str | None
    phone: str | None
    roles: tuple[str, ...]
    disabled: bool
    created_at: datetime


def check_password(password: str, email: str, *, field: str = "password") -> None:
    """Invalid, because of that field, when it is among the first that anybody would guess.

    NIST SP 800-63B, section 5.1.1.2.
    """
    if password.lower() in COMMON_PASSWORDS or password.lower() == email.lower():
        raise Invalid(
            "This password is among the first that anybody would guess",
            problem="weak-password",
            errors=[{"loc": ["body", field], "msg": "too easily guessed"}],
        )


def check_roles(roles: set[str]) -> None:
    """Invalid when one of them is no role of an account."""
    unknown = roles - ROLES
    if unknown or not roles:
        raise Invalid(f"Roles are among {', '.join(sorted(ROLES))}", problem="unknown-role")


def lock_for(failures: int, free: int, first_s: float, longest_s: float) -> timedelta | None:
    """How long to refuse further attempts after so many wrong ones in a row; None while they are free."""
    if failures < free:
        return None
    return timedelta(seconds=min(longest_s, first_s * 2 ** min(failures - free, 32)))
