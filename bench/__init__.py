"""How fast orderwright is, measured on real servers beside what the database alone would do."""
