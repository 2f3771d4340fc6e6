"""Versions of the notification service's schema, oldest first."""
