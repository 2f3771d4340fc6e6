"""The notification service's HTTP door."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, StringConstraints

from orderwright.kernel.auth import AnyCaller, Caller, Staff, StaffOrService
from orderwright.kernel.errors import Forbidden, NotFound
from orderwright.kernel.ids import is_uuid
from orderwright.kernel.unit import UnitOfWork, Units
from orderwright.kernel.web import (
    Body,
    ExactRoute,
    IdempotencyKey,
    Limit,
    LongText,
    OpaqueId,
    ShortText,
    View,
    claim_for,
    once,
)
from orderwright.services.notification import store
from orderwright.services.notification.actions import telling
from orderwright.services.notification.domain import Channel, Notification, Template, checked, render
from orderwright.services.notification.domain.texts import BUILT_IN

router = APIRouter(route_class=ExactRoute)

Email = Annotated[
    str,
    StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]+$"),
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()/.-]{3,30}$")]


@dataclass(frozen=True, slots=True)
class NotificationDesk:
    """The tools of the endpoints."""

    units: Units


async def _desk(request: Request) -> NotificationDesk:
    desk: NotificationDesk = request.app.state.desk
    return desk


Desk = Annotated[NotificationDesk, Depends(_desk)]


class MessageBody(Body):
    """What to say: subject and body, or a `type` with the context that its template needs."""

    type: ShortText = "message"
    subject: ShortText | None = None
    body: LongText = ""
    context: Annotated[dict[str, Any], Field(max_length=50, default_factory=dict)]
    order_id: OpaqueId | None = None


class EmailBody(MessageBody):
    recipient: Email


class SmsBody(MessageBody):
    recipient: Phone


class PushBody(MessageBody):
    recipient: ShortText


class TemplateBody(Body):
    subject: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    body: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class PreviewBody(TemplateBody):
    context: Annotated[dict[str, Any], Field(max_length=50, default_factory=dict)]


class NotificationView(View):
    id: str
    type: str
    channel: str
    recipient: str | None
    status: str
    order_id: str | None
    subject: str | None
    body: str | None
    attempts: int
    error: str | None
    created_at: datetime
    sent_at: datetime | None


class TemplateView(View):
    name: str
    subject: str
    body: str
    built_in: bool


class PreviewView(View):
    subject: str
    body: str


@router.post(
    "/notifications/email",
    status_code=201,
    summary="Write an e-mail (staff, services)",
    response_model=NotificationView,
    tags=["notifications"],
)
async def post_email(
    body: EmailBody, caller: StaffOrService, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    return await _post(Channel.EMAIL, body, body.recipient, caller, desk, request, key)


@router.post(
    "/notifications/sms",
    status_code=201,
    summary="Write an SMS (staff, services)",
    response_model=NotificationView,
    tags=["notifications"],
)
async def post_sms(
    body: SmsBody, caller: StaffOrService, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    return await _post(Channel.SMS, body, body.recipient, caller, desk, request, key)


@router.post(
    "/notifications/push",
    status_code=201,
    summary="Write a push message (staff, services)",
    response_model=NotificationView,
    tags=["notifications"],
)
async def post_push(
    body: PushBody, caller: StaffOrService, desk: Desk, request: Request, key: IdempotencyKey = None
) -> Response:
    return await _post(Channel.PUSH, body, body.recipient, caller, desk, request, key)


@router.get("/notifications", summary="What was told about an order", tags=["notifications"])
async def list_notifications(
    caller: AnyCaller,
    desk: Desk,
    order_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
) -> list[NotificationView]:
    if order_id is None and not caller.privileged:
        raise Forbidden("Name an order_id; only staff and services see all notifications")
    found = await desk.units.read(lambda connection: store.listed(connection, order_id=order_id, limit=limit))
    return [_view(one) for one, owner in found if caller.may_act_for(owner or "")]


@router.get("/notifications/{notification_id}", summary="A notification", tags=["notifications"])
async def get_notification(notification_id: str, caller: AnyCaller, desk: Desk) -> NotificationView:
    found = None
    if is_uuid(notification_id):
        found = await desk.units.read(lambda connection: store.owned(connection, notification_id))
    if found is None or not caller.may_act_for(found[1] or ""):
        raise NotFound("There is no such notification")
    return _view(found[0])


@router.get("/templates", summary="The words in use (staff, services)", tags=["templates"])
async def list_templates(_: StaffOrService, desk: Desk) -> list[TemplateView]:
    custom = await desk.units.read(store.custom_templates)
    return [_template_view(custom.get(name, BUILT_IN[name]), built_in=name not in custom) for name in sorted(BUILT_IN)]


@router.put("/templates/{name}", summary="Use other words (staff)", tags=["templates"])
async def put_template(name: str, body: TemplateBody, caller: Staff, desk: Desk) -> TemplateView:
    """Jinja2, in a sandbox."""
    template = Template(name, body.subject, body.body)
    await desk.units.run(lambda uow: telling.put_template(uow, template, caller.id))
    return _template_view(template, built_in=False)


@router.post("/templates/{name}/preview", summary="Try words out (staff)", tags=["templates"])
async def preview_template(name: str, body: PreviewBody, _: Staff) -> PreviewView:
    if name not in BUILT_IN:
        raise NotFound(f"There is no template {name}")
    subject, text = render(checked(Template(name, body.subject, body.body)), body.context)
    return PreviewView(subject=subject, body=text)


async def _post(
    channel: Channel,
    body: MessageBody,
    recipient: str,
    caller: Caller,
    desk: NotificationDesk,
    request: Request,
    key: str | None,
) -> Response:
    context = {**body.context, "body": body.body}
    if body.subject is not None:
        context["subject"] = body.subject

    def work(uow: UnitOfWork) -> NotificationView:
        id_ = telling.write_to(uow, channel, recipient, type_=body.type, context=context, order_id=body.order_id)
        written = store.by_id(uow.connection, id_)
        assert written is not None
        return _view(written)

    return await once(desk.units, claim_for(request, caller, key), 201, work)


def _view(one: Notification) -> NotificationView:
    members = asdict(one)
    return NotificationView(
        **{
            **{name: members[name] for name in NotificationView.model_fields},
            "channel": one.channel.value,
            "status": one.status.value,
        }
    )


def _template_view(template: Template, *, built_in: bool) -> TemplateView:
    return TemplateView(name=template.name, subject=template.subject, body=template.body, built_in=built_in)
