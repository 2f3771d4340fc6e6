"""Versions of the catalog service's schema, oldest first."""
