"""The inventory's only SQL.

moving       one conditional statement a change of stock     levels       what can be taken, products, what to tell
holdings     reservations and their lines                    warehouses   where goods lie
"""
