"""PostgreSQL's WAL files, made before anything is measured, as on a server that has been at work for a day.

A new server makes each of them when it is needed: 16 MB of zeros, synced to the disk while commits wait. At 220 orders
a second that is every 2.6 s, and decides what one request in a hundred takes. Those that are there are used again, and
`min_wal_size` of them stay when little is written.
"""

import asyncpg

WANTED = """
    SELECT pg_size_bytes(current_setting('min_wal_size')) / pg_size_bytes(current_setting('wal_segment_size'))
"""
THERE = "SELECT count(*) FROM pg_ls_waldir()"
NEXT = "SELECT pg_logical_emit_message(false, 'orderwright', ''), pg_switch_wal()"
"""Without anything in it, the current file is not left for the next."""


async def make_wal_files(url: str) -> None:
    """Have the server behind `url` use as many files as are missing, so that they are there; takes its superuser."""
    connection = await asyncpg.connect(url)
    try:
        missing = await connection.fetchval(WANTED) - await connection.fetchval(THERE)
        for _ in range(missing):
            await connection.execute(NEXT)
        # What is in use becomes what is kept for later.
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
