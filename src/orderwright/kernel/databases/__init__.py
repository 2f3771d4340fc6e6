"""The databases that orderwright can run on; `database.open_database` picks one by its URL."""
