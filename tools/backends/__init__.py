"""Real servers for development and tests: PostgreSQL, PgBouncer, Redis, RabbitMQ and Kafka under one folder.

`python -m tools.backends up` starts what this machine has, each on a port of its own on 127.0.0.1; `down` ends it. A
server keeps its port and its data until `down`, so it can be restarted in the middle of a test.

Invariant: nothing outside the folder is touched, and only processes that were started here are ended.
"""
