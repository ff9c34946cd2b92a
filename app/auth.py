"""Sign-in: passwords by argon2id, sessions by random tokens of which only a hash is stored.

ASVS 5.0: 7.2.3 (256-bit tokens), 7.2.4 (a new token at sign-in), 7.3.1/2 (idle and absolute
end), 7.4.2 (a disabled account has no session), 16.3.1/2 (sign-ins and refusals are logged).
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.settings import Settings
from core.accounts import Account, Role
from store import users
from store.database import Database

log = logging.getLogger(__name__)

VISITOR = Account("visitor", Role.PUBLIC)
"""Whoever has not signed in."""

DEMO_PASSWORD = "verdigrid-demo"  # noqa: S105 - printed on the sign-in page, sandbox only
DEMO_ACCOUNTS = (
    Account("operator", Role.OPERATOR),
    Account("bureau", Role.BUREAU),
    Account("enterprise", Role.ENTERPRISE),
    Account("admin", Role.ADMIN),
)

_account: ContextVar[Account] = ContextVar("verdigrid_account", default=VISITOR)


def current_account() -> Account:
    """The account of the request being served; the visitor where there is none."""
    return _account.get()


def set_account(account: Account) -> None:
    """Bind ``account`` to the request being served."""
    _account.set(account)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts without use, and at all."""

    idle: timedelta
    absolute: timedelta

    @classmethod
    def of(cls, settings: Settings) -> SessionLimits:
        """The limits that the settings name."""
        idle = timedelta(minutes=settings.session_idle_minutes)
        return cls(idle, timedelta(hours=settings.session_hours))


def hash_password(password: str) -> str:
    """An argon2id hash with argon2-cffi's (RFC 9106 low-memory) parameters."""
    return PasswordHasher().hash(password)


@cache
def _nobodys_hash() -> str:
    return hash_password(secrets.token_hex(8))


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _verify(stored: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def sign_in(
    database: Database, name: str, password: str, *, now: datetime, limits: SessionLimits
) -> str | None:
    """A new session token for a right name and password, else None; both are logged."""
    with database.connection() as connection:
        # PostgreSQL's text holds every character but this one.
        user = users.find(connection, name) if "\0" not in name else None
    # A wrong name costs as much time as a wrong password, so that names cannot be guessed by it.
    stored = user.password_hash if user else _nobodys_hash()
    right = _verify(stored, password)
    if user is None or not right or not user.active:
        log.warning("sign-in refused", extra={"account": name[:64]})
        return None
    token = secrets.token_urlsafe(32)
    with database.connection() as connection:
        users.open_session(
            connection, user.name, _token_hash(token), at=now, expires_at=now + limits.absolute
        )
    log.info("signed in", extra={"account": name, "role": str(user.role)})
    return token


def sign_out(database: Database, token: str) -> None:
    """End the session of ``token``; harmless when there is none."""
    with database.connection() as connection:
        users.close_session(connection, _token_hash(token))


def account_of(
    database: Database, token: str, *, now: datetime, limits: SessionLimits
) -> Account | None:
    """The account behind a session token, None when it has ended or its account is disabled."""
    with database.connection() as connection:
        user = users.session_user(connection, _token_hash(token), at=now, idle=limits.idle)
    return user.account if user else None


def ensure_demo_accounts(database: Database, enterprise: str) -> None:
    """The sandbox's accounts, one a role; the enterprise account belongs to ``enterprise``."""
    with database.connection() as connection:
        for account in DEMO_ACCOUNTS:
            if users.find(connection, account.name) is None:
                owner = enterprise if account.role is Role.ENTERPRISE else ""
                users.add(
                    connection,
                    account.name,
                    account.role,
                    owner=owner,
                    password_hash=hash_password(DEMO_PASSWORD),
                    sandbox=True,
                )


def close_demo_accounts(database: Database) -> None:
    """Disable the sandbox's accounts, whose password everybody knows, and end their sessions."""
    with database.connection() as connection:
        for user in users.all_users(connection):
            if user.sandbox:
                users.set_active(connection, user.name, active=False)
