"""Versions of the identity service's schema, oldest first."""
