"""Notification: tells customers what happens to their orders."""

from pathlib import Path

from orderwright.kernel.jobs import Job
from orderwright.kernel.manifest import Kit, Service
from orderwright.services.notification.actions.posting import PostOffice
from orderwright.services.notification.api import NotificationDesk, router
from orderwright.services.notification.handlers import handlers
from orderwright.services.notification.providers import carriers
from orderwright.services.notification.settings import NotificationSettings

LOOK_EVERY_S = 2.0


def assemble(kit: Kit) -> Service:
    """The notification service, ready to run."""
    settings = NotificationSettings()
    office = PostOffice(kit, settings, carriers(settings))
    return Service(
        name="notification",
        port=8004,
        summary="E-mail, SMS and push messages, and the words in them.",
        migrations=Path(__file__).parent / "migrations",
        router=router,
        desk=NotificationDesk(kit.units),
        consumes=handlers(kit.platform.currency),
        patience_s=0.25,
        jobs=(Job("send", office.send_due, LOOK_EVERY_S),),
        on_start=(office.take_up,),
    )
