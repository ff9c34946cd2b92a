"""Machines: tokens that end, and requests that are answered once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.accounts import Account, Role
from core.errors import StoreError
from store import machines, users

NOW = datetime(2026, 6, 22, 4, tzinfo=UTC)
DAY = timedelta(days=1)
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"
REPORT = {"rows": 3, "accepted": 3}


@pytest.fixture
def gateway(connection):
    users.add(connection, "gw", Role.MACHINE, password_hash=HASH)
    return connection


def add(connection, number: int, account: str = "gw") -> int:
    return machines.add_token(
        connection, account, bytes([number] * 32), label="x", at=NOW, expires_at=NOW + DAY
    )


def test_a_token_leads_to_its_account_until_it_ends(gateway):
    first, second = add(gateway, 1), add(gateway, 2)
    found = machines.account_of(gateway, bytes([1] * 32), NOW)
    assert found == Account("gw", Role.MACHINE)
    assert machines.account_of(gateway, bytes([3] * 32), NOW) is None
    assert machines.account_of(gateway, bytes([1] * 32), NOW + DAY) is None
    machines.revoke(gateway, first, NOW)
    assert machines.account_of(gateway, bytes([1] * 32), NOW) is None
    with pytest.raises(StoreError, match=f"no token {first} in use"):
        machines.revoke(gateway, first, NOW)
    users.set_active(gateway, "gw", active=False)
    assert machines.account_of(gateway, bytes([2] * 32), NOW) is None
    listed = machines.tokens(gateway)
    assert [(t.id, t.revoked_at, t.active) for t in listed] == [
        (first, NOW, False), (second, None, False)
    ]  # fmt: skip


def test_when_a_token_was_used_is_noted_to_the_minute(gateway):
    add(gateway, 1)
    seen = []
    for seconds in (0, 30, 59, 61):
        machines.account_of(gateway, bytes([1] * 32), NOW + timedelta(seconds=seconds))
        seen.append(machines.tokens(gateway)[0].seen_at)
    assert seen == [NOW, NOW, NOW, NOW + timedelta(seconds=61)]


def test_only_open_accounts_of_machines_have_tokens(gateway):
    users.add(gateway, "ann", Role.OPERATOR, password_hash=HASH)
    users.set_active(gateway, "gw", active=False)
    for account in ("ann", "gw", "nobody"):
        with pytest.raises(StoreError, match=f"no open account '{account}'"):
            add(gateway, 1, account)


def test_a_request_is_answered_once(gateway):
    def finish(key: str, content: int, report: dict) -> machines.Finished:
        return machines.finish(
            gateway, "gw", key, content_hash=bytes([content] * 32), report=report, at=NOW
        )

    assert machines.begin(gateway, "gw", "a", NOW) is None
    assert machines.begin(gateway, "gw", "a", NOW) is None  # interrupted, and begun again
    answered = machines.Finished(bytes([1] * 32), REPORT)
    assert finish("a", 1, REPORT) == answered
    assert machines.begin(gateway, "gw", "a", NOW) == answered
    assert finish("a", 2, {}) == answered  # who was faster stands
    assert machines.forget(gateway, NOW) == 0
    assert machines.forget(gateway, NOW + DAY) == 1
    assert machines.begin(gateway, "gw", "a", NOW) is None
    with pytest.raises(StoreError, match="was forgotten"):
        finish("b", 1, REPORT)
