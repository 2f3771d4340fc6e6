"""Rules about the code itself that no linter knows; what imports may do is in `.importlinter`."""
