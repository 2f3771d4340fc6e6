"""The gateway, with small services of the tests' own behind it."""
