"""orderwright: an event-driven order platform, from cart to delivery.

Start reading at `services/order/manifest.py`: what one service hears, says and serves.
"""

__version__ = "0.1.0"
