"""The shipping service: what has to leave, what has left, what has arrived."""
