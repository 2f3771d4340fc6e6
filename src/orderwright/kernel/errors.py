"""The error tree: every business error knows its HTTP status and its problem type (RFC 9457).

    OrderwrightError
    ├── BusinessError                     the caller is told; nothing has changed
    │   ├── Malformed            400      the request cannot be read
    │   ├── Refused              400      readable, but the world says no (no stock, unknown product)
    │   ├── Unauthenticated      401
    │   ├── Forbidden            403
    │   ├── NotFound             404      unknown, or somebody else's
    │   ├── Conflict             409      the state does not allow it
    │   ├── TooLarge             413
    │   ├── UnsupportedMedia     415
    │   ├── Invalid              422      the content breaks a rule
    │   ├── TooManyRequests      429      with Retry-After
    │   └── Unavailable          503      a dependency is down; with Retry-After
    ├── MalformedMessage                  a message nobody can ever handle: straight to the dead letters
    ├── TryLater                          a message that cannot be handled yet: kept and tried again
    ├── DatabaseUnavailable               the service's own database does not answer
    │   └── DatabaseMissing               its server does, and has no such database
    ├── NeedsLocks                        a transaction that was tried without them; only the database sees it
    ├── BrokerUnavailable                 the broker does not answer; the outbox holds what was said
    └── ConfigurationError                the settings make no sense; the process must not start

A message names what was wrong, where, and what would be right; it never carries a secret or a card number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class OrderwrightError(Exception):
    """The root: catch this to catch everything the platform raises on purpose."""


class BusinessError(OrderwrightError):
    """An answer to the caller, not a fault: `detail` is shown as it is.

    `extra` members appear beside the standard ones in the problem document (RFC 9457, section 3.2).
    """

    status: ClassVar[int] = 400
    problem: ClassVar[str] = "business-error"
    title: ClassVar[str] = "The request cannot be carried out"

    def __init__(
        self,
        detail: str,
        *,
        problem: str | None = None,
        title: str | None = None,
        retry_after_s: int | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problem_type = problem or self.problem
        self.problem_title = title or (self.title if problem is None else problem.replace("-", " ").capitalize())
        self.retry_after_s = retry_after_s
        self.errors = tuple(errors)
        self.extra = dict(extra or {})


class Malformed(BusinessError):
    status, problem, title = 400, "malformed-request", "The request cannot be read"


class Refused(BusinessError):
    status, problem, title = 400, "refused", "The request was understood and refused"


class Unauthenticated(BusinessError):
    status, problem, title = 401, "unauthorized", "A valid access token is needed"


class Forbidden(BusinessError):
    status, problem, title = 403, "forbidden", "Not allowed for this caller"


class NotFound(BusinessError):
    status, problem, title = 404, "not-found", "There is no such thing here"


class Conflict(BusinessError):
    status, problem, title = 409, "conflict", "The current state does not allow this"


class TooLarge(BusinessError):
    status, problem, title = 413, "content-too-large", "The body is too large"


class UnsupportedMedia(BusinessError):
    status, problem, title = 415, "unsupported-media-type", "The body must be JSON"


class Invalid(BusinessError):
    status, problem, title = 422, "validation-error", "The content breaks a rule"


class TooManyRequests(BusinessError):
    status, problem, title = 429, "too-many-requests", "Too many requests"


class Unavailable(BusinessError):
    status, problem, title = 503, "unavailable", "A part that is needed does not answer"


class MalformedMessage(OrderwrightError):
    """A message that no later attempt can make readable."""


class TryLater(OrderwrightError):
    """A message came before what it depends on; it is kept and tried again."""


class DatabaseUnavailable(OrderwrightError):
    """The service's own database does not answer; the work was rolled back or its outcome is unknown."""


class DatabaseMissing(DatabaseUnavailable):
    """The database's server answers, and says that there is no such database."""


class NeedsLocks(OrderwrightError):
    """Somebody was quicker, or this cannot be done without locks: nothing was changed; it is done again with them."""


class BrokerUnavailable(OrderwrightError):
    """The broker does not answer; what was said stays in the outbox."""


class ConfigurationError(OrderwrightError):
    """A setting is missing or makes no sense."""
