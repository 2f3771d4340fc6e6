"""Bodies and views of the identity service."""

from datetime import datetime
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints

from orderwright.kernel.web import Body, ShortText, View
from orderwright.services.identity.domain import MAX_PASSWORD, MIN_PASSWORD, Account


def _normal_email(value: str) -> str:
    """Lower case and normal form. Two spellings of one address are one account."""
    try:
        parts = validate_email(value, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError:
        raise ValueError("is no e-mail address") from None
    return parts.normalized.lower()


Email = Annotated[
    str, StringConstraints(max_length=254), AfterValidator(_normal_email), Field(examples=["ada@example.com"])
]
NewPassword = Annotated[str, StringConstraints(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD), Field(repr=False)]
GivenPassword = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD), Field(repr=False)]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()/.-]{3,30}$")]
OpaqueToken = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class RegisterBody(Body):
    email: Email
    password: NewPassword
    name: ShortText | None = None
    phone: Phone | None = None


class LoginBody(Body):
    email: Annotated[str, StringConstraints(min_length=1, max_length=254)]
    password: GivenPassword


class RefreshBody(Body):
    refresh_token: OpaqueToken = Field(repr=False)


class PasswordBody(Body):
    old_password: GivenPassword
    new_password: NewPassword
    refresh_token: OpaqueToken | None = Field(None, repr=False, description="Of the session that is to go on")


class RolesBody(Body):
    roles: Annotated[list[Annotated[str, StringConstraints(max_length=40)]], Field(min_length=1, max_length=10)]


class ServiceTokenBody(Body):
    service: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    secret: Annotated[str, StringConstraints(min_length=1, max_length=500), Field(repr=False)]


class AccountView(View):
    id: str
    email: str
    roles: list[str]
    name: str | None
    phone: str | None
    disabled: bool
    created_at: datetime


class TokensView(View):
    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: str
    expires_in: int


class ServiceTokenView(View):
    access_token: str = Field(repr=False)
    token_type: str
    expires_in: int


class ContactView(View):
    customer_id: str
    name: str | None
    email: str
    phone: str | None


def account_view(account: Account) -> AccountView:
    """What may be shown of an account."""
    return AccountView(
        id=account.id,
        email=account.email,
        roles=list(account.roles),
        name=account.name,
        phone=account.phone,
        disabled=account.disabled,
        created_at=account.created_at,
    )


def normal_email_or_same(value: str) -> str:
    """The normal form for a log-in; what is no address stays as it is, and is then simply unknown."""
    try:
        return _normal_email(value)
    except ValueError:
        return value.lower()
