"""Versions of the shipping service's schema, oldest first."""
