"""What the payment service can do.

orders    take in what is heard of orders      charges   begin charges and record their outcomes
refunds   give money back                      terms    what an order costs, while it is changed
"""
