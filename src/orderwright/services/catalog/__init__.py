"""The catalog service: what can be bought, and for how much. The only authority on price."""
