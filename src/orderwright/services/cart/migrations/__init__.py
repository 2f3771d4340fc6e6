"""Versions of the cart service's schema, oldest first."""
