"""The brokers that orderwright can run on; a URL's scheme picks one, and only that one's client is imported."""

from importlib import import_module

from orderwright.kernel.broker import Broker
from orderwright.kernel.errors import ConfigurationError

SCHEMES = {
    "amqp": "orderwright.kernel.brokers.rabbit:RabbitBroker",
    "amqps": "orderwright.kernel.brokers.rabbit:RabbitBroker",
    "kafka": "orderwright.kernel.brokers.kafka.broker:KafkaBroker",
    "memory": "orderwright.kernel.brokers.memory:MemoryBroker",
    "redis": "orderwright.kernel.brokers.redis.broker:RedisBroker",
    "rediss": "orderwright.kernel.brokers.redis.broker:RedisBroker",
}


def open_broker(url: str) -> Broker:
    """The broker that `url` names. ConfigurationError for a scheme that nobody serves."""
    scheme = url.partition(":")[0]
    try:
        module, _, name = SCHEMES[scheme].partition(":")
    except KeyError:
        known = ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
        raise ConfigurationError(f"The broker URL begins with {scheme!r}; known are {known}") from None
    broker: Broker = getattr(import_module(module), name)(url)
    return broker
