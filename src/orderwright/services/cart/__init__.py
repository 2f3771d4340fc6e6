"""The cart service: what somebody is about to order."""
