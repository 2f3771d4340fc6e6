"""What one transaction does to reservations and their goods: collected first, then written with each row once.

Invariant: a reservation and the stock that it stands for change together.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from orderwright.kernel.unit import UnitOfWork
from orderwright.services.inventory.domain import Reservation, ReservationStatus, Take
from orderwright.services.inventory.store import holdings, moving
from orderwright.services.inventory.store.moving import Move


class Changes:
    """Reservations that are made, and living ones that end."""

    def __init__(self, uow: UnitOfWork) -> None:
        self.uow = uow
        self._made: dict[str, Reservation] = {}
        self._ended: dict[str, Reservation] = {}
        self._moved: list[tuple[Move, Sequence[Take]]] = []

    def make(self, reservation: Reservation) -> None:
        """Set its goods aside."""
        self._made[reservation.id] = reservation
        self._moved.append((moving.RESERVE, reservation.takes))

    def deduct(self, living: Reservation) -> None:
        """Its goods leave the stock for good."""
        self._end(replace(living, status=ReservationStatus.DEDUCTED), moving.DEDUCT)

    def release(self, living: Reservation, status: ReservationStatus, reason: str | None = None) -> None:
        """Its goods are free again."""
        self._end(replace(living, status=status, reason=reason), moving.RELEASE)

    def save(self) -> None:
        """Write all of it. StockMoved when what was planned does not hold any more."""
        connection = self.uow.connection
        # Reservations before stock, as whoever locks them does it: so nobody waits for each other.
        holdings.end(connection, list(self._ended.values()), self.uow.now)
        moving.apply(connection, moving.moves_of(*self._moved))
        holdings.insert(connection, list(self._made.values()))
        if any(move is not moving.DEDUCT for move, _ in self._moved):
            self.uow.wake("publish-levels")

    def _end(self, ended: Reservation, move: Move) -> None:
        # What was made a moment ago is not in the table yet, and is written as it ended.
        (self._made if ended.id in self._made else self._ended)[ended.id] = ended
        self._moved.append((move, ended.takes))
