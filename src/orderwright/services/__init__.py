"""The services, by name. This is the only list of them; each entry leads to a manifest's `assemble`."""

SERVICES: dict[str, str] = {
    "identity": "orderwright.services.identity.manifest:assemble",
    "catalog": "orderwright.services.catalog.manifest:assemble",
    "cart": "orderwright.services.cart.manifest:assemble",
    "order": "orderwright.services.order.manifest:assemble",
    "payment": "orderwright.services.payment.manifest:assemble",
    "inventory": "orderwright.services.inventory.manifest:assemble",
    "shipping": "orderwright.services.shipping.manifest:assemble",
    "notification": "orderwright.services.notification.manifest:assemble",
}

PORTS: dict[str, int] = {
    "gateway": 8000,
    "order": 8001,
    "payment": 8002,
    "inventory": 8003,
    "notification": 8004,
    "catalog": 8005,
    "cart": 8006,
    "shipping": 8007,
    "identity": 8008,
}
"""Where each service listens unless told otherwise (CONTRACT section 1)."""
