"""Passwords that anybody would guess, and locks that grow."""

from datetime import timedelta

import pytest

from orderwright.kernel.errors import Invalid
from orderwright.services.identity.domain import check_password, check_roles, lock_for


@pytest.mark.parametrize("password", ["password123", "PassWord123", "Ada@example.com"])
def test_a_password_that_anybody_would_guess_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_password(password, "ada@example.com", field="new_password")
    assert refused.value.problem_type == "weak-password"
    assert refused.value.errors[0]["loc"] == ["body", "new_password"]
    assert password not in refused.value.detail


@pytest.mark.parametrize("roles", [set(), {"service"}, {"customer", "root"}])
def test_roles_that_no_account_can_have_are_refused(roles: set[str]) -> None:
    with pytest.raises(Invalid):
        check_roles(roles)


def test_locks_begin_when_the_free_attempts_are_used_up_and_double_up_to_the_longest() -> None:
    locks = [lock_for(failures, 5, 30, 900) for failures in (4, 5, 6, 7, 9, 10, 11, 10_000)]
    assert locks == [None, *(timedelta(seconds=s) for s in (30, 60, 120, 480, 900, 900, 900))]
