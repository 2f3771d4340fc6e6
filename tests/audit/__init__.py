"""The auditor: every law is broken once, and nothing healthy is called broken."""
