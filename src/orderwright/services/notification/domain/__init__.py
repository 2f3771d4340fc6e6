"""Notifications as pure rules: what there is to tell, of which event, in which words.

Invariant: a template that staff wrote runs in a sandbox, with limits; it can say things, not do things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import ChainableUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from orderwright.kernel.errors import Invalid

MAX_RENDERED = 100_000
MAX_RANGE = 1000


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class NotificationStatus(StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Template:
    """The words for one kind of notification."""

    name: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one person."""

    id: str
    type: str
    channel: Channel
    recipient: str | None
    customer_id: str | None
    order_id: str | None
    subject: str | None
    body: str | None
    context: Mapping[str, Any]
    status: NotificationStatus
    attempts: int
    error: str | None
    created_at: datetime
    sent_at: datetime | None


def checked(template: Template) -> Template:
    """`template`, if both of its texts can be read. Invalid names the line that cannot."""
    environment = _environment()
    for member in ("subject", "body"):
        try:
            environment.parse(getattr(template, member))
        except TemplateSyntaxError as error:
            raise Invalid(
                f"The {member} is no Jinja2 template: {error.message} in line {error.lineno}",
                problem="template-syntax",
                errors=[{"loc": ["body", member], "msg": f"line {error.lineno}: {error.message}"}],
            ) from None
    return template


def render(template: Template, context: Mapping[str, Any]) -> tuple[str, str]:
    """(subject, body). Invalid when the template cannot be carried out."""
    try:
        subject = _compiled(template.subject).render(context)
        body = _compiled(template.body).render(context)
    except (TemplateError, ArithmeticError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise Invalid(f"The template {template.name} fails: {type(error).__name__}", problem="template-fails") from None
    if len(subject) + len(body) > MAX_RENDERED:
        raise Invalid(
            f"The template {template.name} writes more than {MAX_RENDERED} characters", problem="template-fails"
        )
    return " ".join(subject.split())[:200], body


@lru_cache(maxsize=128)
def _compiled(text: str) -> jinja2.Template:
    # Compiling costs a hundred times what rendering does, and the same few texts are used all the time.
    return _environment().from_string(text)


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=ChainableUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals["range"] = _short_range
    return environment


def _short_range(*arguments: int) -> range:
    numbers = range(*arguments)
    if len(numbers) > MAX_RANGE:
        raise ValueError(f"a range of more than {MAX_RANGE}")
    return numbers
