"""How far each partition was handled: what was handed out, what was acknowledged, and what may be committed.

Invariant: the offset to commit never lies beyond a delivery that was handed out and not acknowledged, because a commit
says that everything before it was handled. What was acknowledged out of turn waits for what stands before it.
"""

from collections import deque

Partition = tuple[str, int]
"""A topic's full name and the partition's number, as the client library has it."""


class _Position:
    """One partition."""

    __slots__ = ("next_offset", "open", "order")

    def __init__(self) -> None:
        self.order: deque[int] = deque()
        self.open: set[int] = set()
        self.next_offset = 0


class Progress:
    """The partitions of one assignment, from when they were given to this consumer until they are taken away."""

    def __init__(self) -> None:
        self.outstanding = 0
        """Deliveries that were handed out and not acknowledged."""
        self._positions: dict[Partition, _Position] = {}
        self._moved: set[Partition] = set()

    def handed_out(self, partition: Partition, offset: int) -> None:
        """This record is now somebody's work. Offsets of a partition come in rising order."""
        position = self._positions.get(partition)
        if position is None:
            position = self._positions[partition] = _Position()
        position.order.append(offset)
        position.open.add(offset)
        self.outstanding += 1

    def acknowledged(self, partition: Partition, offset: int) -> None:
        """This record was handled; a second time changes nothing."""
        position = self._positions[partition]
        if offset not in position.open:
            return
        position.open.remove(offset)
        self.outstanding -= 1
        order = position.order
        while order and order[0] not in position.open:
            position.next_offset = order.popleft() + 1
            self._moved.add(partition)

    def to_commit(self) -> dict[Partition, int]:
        """The next offset of each partition that moved since it was last committed."""
        return {partition: self._positions[partition].next_offset for partition in self._moved}

    def committed(self, offsets: dict[Partition, int]) -> None:
        """The broker took these."""
        for partition, offset in offsets.items():
            if self._positions[partition].next_offset == offset:
                self._moved.discard(partition)
