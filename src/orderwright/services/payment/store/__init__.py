"""The payment service's SQL. Money moves by conditional statements; payments are loaded locked and written together.

payments   payments and their charges      refunds    money to give back
methods    how orders are to be paid       webhooks   what providers told us
lateness   what has no outcome for too long, of payments and of refunds

Whoever locks a payment and something of it locks the payment first.
"""
