"""What the inventory can do, one file for each use.

orders    the daily way of orders, done together                 changes   what one transaction does, written at once
reserve   set goods aside for orders, carts and people       settle   deduct, release, expire
stock     what the catalog and staff say of levels, and telling them to the world
"""
