"""What a log may show."""

import io
from typing import Literal

import pytest
import structlog

from orderwright.kernel.telemetry import configure_logs


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_variables_of_a_failed_function_stay_out_of_the_log(form: Literal["json", "console"]) -> None:
    log = io.StringIO()
    configure_logs(form=form, level="info", stream=log)

    def pay(card_number: str) -> None:
        raise RuntimeError(f"a card of {len(card_number)} digits was refused")

    number = "42" * 8
    try:
        pay(number)
    except RuntimeError:
        structlog.get_logger().exception("failed")
    assert "a card of 16 digits was refused" in log.getvalue()
    assert "4242" not in log.getvalue()
