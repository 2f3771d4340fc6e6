"""What the payment service can do.

orders     take in what is heard of orders      charges    begin charges and record their outcomes
refunds    give money back                      terms      what an order costs, while it is changed
webhooks   what a provider's hint calls for     alarms     what waits for too long, or for a person
cashier    asks the provider                    mailroom   works through webhooks     housekeeping
"""
