"""What the identity service can do.

accounts   make, change, list accounts      keys   signing keys and tokens
sessions   log in, refresh, log out         guessing   count wrong passwords and lock
"""
