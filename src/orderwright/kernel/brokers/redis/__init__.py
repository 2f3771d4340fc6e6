"""Redis Streams as a broker: `redis://[user:password@]host[:port][/db]`, or `rediss://…` for TLS. Redis 7.0 or newer.

    topic                   the stream `<prefix><topic>`
    message                 an entry: the field `data` is the body, the CloudEvents attributes are fields beside it
    key                     the field `ce_subject`
    group                   a consumer group of that name on each of its streams, which begins with the oldest entry
    a consumer that left    an entry in the stream `<prefix>~<group>`, if it left something that others should take

What a group was given and did not acknowledge is pending in Redis. Whoever finds it pending for `?claim_after_s=`
(30) takes it over, so a slow handler may cause a duplicate, and never a loss. Entries that every group has
acknowledged are removed after `?keep_s=` (600). `?prefix=` stands before the name of every key.

Published is as safe as this Redis: `appendfsync always` survives a power cut, `everysec` may lose the last second, and
a failover may lose what the replica had not heard. The server must never evict: `maxmemory-policy noeviction` (or a
`volatile-` one, for streams do not expire). The account needs the stream commands, MULTI, EVAL, SET and PING.
One server (with replicas, behind one address); not Redis Cluster, where one batch would have to go to several nodes.
"""
