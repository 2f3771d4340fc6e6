"""What can become of a message that failed, and of those behind it.

failed ──► retrying ──► dead          retrying or dead: handled by an attempt, or discarded by somebody
parked ──► retrying                   once nobody before it holds its line up (see `lines`)
"""

RETRYING, DEAD, PARKED, HANDLED, DISCARDED = "retrying", "dead", "parked", "handled", "discarded"
FAILED = (RETRYING, DEAD)
"""States of what may hold others up."""
OPEN = (DEAD, RETRYING, PARKED)
"""States of what is still to be handled; the others are for the record."""
EVERY = (*OPEN, HANDLED, DISCARDED)
