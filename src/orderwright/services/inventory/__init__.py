"""The inventory service: how much of what lies where, and for whom it is set aside."""
