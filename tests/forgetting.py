"""FastAPI remembers each route that it has looked at, and with it the whole service of a test that is over."""

from fastapi.dependencies import models


def forget_routes() -> None:
    """Let go of them; what is still in use is looked at again."""
    for remembered in vars(models).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()
