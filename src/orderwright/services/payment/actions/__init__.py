"""What the payment service can do.

orders    take in what is heard of orders      charges   begin charges and record their outcomes
refunds   give money back                      methods   remember how an order is to be paid
"""
