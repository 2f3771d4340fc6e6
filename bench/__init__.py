"""How fast orderwright is, measured on real servers; never asserted in tests."""
