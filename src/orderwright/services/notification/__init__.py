"""The notification service: tells customers what happens to their orders, once each, and keeps what it told."""
