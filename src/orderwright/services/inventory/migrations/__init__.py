"""Versions of the inventory service's schema, oldest first."""
