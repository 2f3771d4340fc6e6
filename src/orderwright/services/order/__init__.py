"""The order service: takes an order from its acceptance to its end, and remembers how it got there."""
