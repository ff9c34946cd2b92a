"""Sign-in and sessions over the real tables; every time is given, none is waited for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from app.auth import (
    DEMO_ACCOUNTS,
    DEMO_PASSWORD,
    SessionLimits,
    account_of,
    close_demo_accounts,
    ensure_demo_accounts,
    hash_password,
    sign_in,
    sign_out,
)
from app.settings import Settings
from core.accounts import Account, Role
from core.timeaxis import MICROSECOND
from store import users
from store.database import Database

LIMITS = SessionLimits(idle=timedelta(minutes=60), absolute=timedelta(hours=12))


@pytest.fixture
def operator(database: Database) -> Account:
    with database.connection() as connection:
        users.add(connection, "li", Role.OPERATOR, password_hash=hash_password("right"))
    return Account("li", Role.OPERATOR)


def enter(database: Database, now: datetime, name: str = "li", password: str = "right") -> str:
    token = sign_in(database, name, password, now=now, limits=LIMITS)
    assert token is not None
    return token


def who(database: Database, token: str, at: datetime) -> Account | None:
    return account_of(database, token, now=at, limits=LIMITS)


def test_the_right_password_opens_a_session(
    database: Database, operator: Account, now: datetime
) -> None:
    assert who(database, enter(database, now), now) == operator


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("li", "wrong"),
        ("li", ""),
        ("LI", "right"),
        ("nobody", "right"),
        ("li\0", "right"),
        ("", ""),
        ("li' OR 'a'='a", "x"),
    ],
)
def test_anything_else_is_refused_and_logged_without_the_password(
    database: Database,
    operator: Account,
    now: datetime,
    caplog: pytest.LogCaptureFixture,
    name: str,
    password: str,
) -> None:
    assert sign_in(database, name, password, now=now, limits=LIMITS) is None
    (record,) = [r for r in caplog.records if r.message == "sign-in refused"]
    assert record.__dict__["account"] == name
    assert "wrong" not in str(record.__dict__)


def test_a_wrong_name_costs_what_a_wrong_password_costs(
    database: Database, operator: Account, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the time of an answer tells which names there are."""
    work: list[str] = []
    for part in ("hash", "verify"):
        real = getattr(PasswordHasher, part)

        def counted(*given: object, part: str = part, real: Callable[..., object] = real) -> object:
            work.append(part)
            return real(*given)

        monkeypatch.setattr(PasswordHasher, part, counted)
    sign_in(database, "nobody", "x", now=now, limits=LIMITS)  # the first may prepare something
    work.clear()
    sign_in(database, "li", "wrong", now=now, limits=LIMITS)
    known, work[:] = list(work), []
    sign_in(database, "nobody", "wrong", now=now, limits=LIMITS)
    assert work == known == ["verify"]


def test_a_session_ends_when_it_is_not_used(
    database: Database, operator: Account, now: datetime
) -> None:
    token = enter(database, now)
    used = now + LIMITS.idle - MICROSECOND
    assert who(database, token, used) == operator
    assert who(database, token, used + LIMITS.idle - MICROSECOND) == operator  # use prolongs it
    late = used + 2 * LIMITS.idle
    assert who(database, token, late) is None
    assert who(database, token, late + MICROSECOND) is None  # asking does not revive it


def test_a_session_ends_however_much_it_is_used(
    database: Database, operator: Account, now: datetime
) -> None:
    token, at = enter(database, now), now
    while at + timedelta(minutes=30) < now + LIMITS.absolute:
        at += timedelta(minutes=30)
        assert who(database, token, at) == operator
    assert who(database, token, now + LIMITS.absolute) is None


def test_a_disabled_account_loses_its_session_and_cannot_enter(
    database: Database, operator: Account, now: datetime
) -> None:
    token = enter(database, now)
    with database.connection() as connection:
        users.set_active(connection, "li", active=False)
    assert who(database, token, now) is None
    assert sign_in(database, "li", "right", now=now, limits=LIMITS) is None
    with database.connection() as connection:
        users.set_active(connection, "li", active=True)
    assert who(database, token, now) is None  # the old session is gone for good


def test_signing_out_ends_this_session_only(
    database: Database, operator: Account, now: datetime
) -> None:
    first, second = enter(database, now), enter(database, now)
    assert first != second
    sign_out(database, first)
    sign_out(database, "no such token")
    assert who(database, first, now) is None
    assert who(database, second, now) == operator


def test_neither_password_nor_token_is_in_the_database(
    database: Database, operator: Account, now: datetime
) -> None:
    token = enter(database, now)
    with database.connection() as connection:
        stored = connection.execute("SELECT token_hash FROM account_session").fetchall()
        user = users.find(connection, "li")
    assert [bytes(row[0]) for row in stored] == [hashlib.sha256(token.encode()).digest()]
    assert user is not None
    assert user.password_hash.startswith("$argon2id$")


def test_the_limits_come_from_the_settings(tmp_path: Path) -> None:
    found = SessionLimits.of(Settings(session_idle_minutes=5, session_hours=2))
    assert found == SessionLimits(timedelta(minutes=5), timedelta(hours=2))


def test_demo_accounts_are_one_a_role_and_marked(database: Database, now: datetime) -> None:
    ensure_demo_accounts(database, "ent-a")
    ensure_demo_accounts(database, "ent-a")  # again is harmless
    with database.connection() as connection:
        found = users.all_users(connection)
    assert {u.role for u in found} == set(Role) - {Role.PUBLIC, Role.MACHINE}
    assert len(found) == len(DEMO_ACCOUNTS)
    assert all(u.sandbox for u in found)
    assert {u.owner for u in found if u.role is Role.ENTERPRISE} == {"ent-a"}
    enter(database, now, "bureau", DEMO_PASSWORD)


def test_closing_the_demo_accounts_leaves_real_ones(
    database: Database, operator: Account, now: datetime
) -> None:
    ensure_demo_accounts(database, "ent-a")
    demo, real = enter(database, now, "admin", DEMO_PASSWORD), enter(database, now)
    close_demo_accounts(database)
    assert who(database, demo, now) is None
    assert sign_in(database, "admin", DEMO_PASSWORD, now=now, limits=LIMITS) is None
    assert who(database, real, now) == operator
