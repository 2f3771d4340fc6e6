"""Kafka as the broker: topics keyed by the message's key, consumer groups, offsets committed after the database."""
