"""Accounts and their sessions. Neither passwords nor tokens are kept, only hashes of them.

There is no account that nobody made: an installation begins without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.accounts import Account, Role
from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("users")


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account with what signing in needs. sandbox: a demo account, for simulated cities only."""

    account: Account
    password_hash: str
    active: bool
    sandbox: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is valid now."""

    account: Account
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


def save(
    connection: Connection, account: Account, password_hash: str, *, sandbox: bool = False
) -> None:
    """Adds the account or replaces its role, owner and password; it becomes active.

    Its sessions end. Raises StoreError unless ``password_hash`` is one of argon2id.
    """
    if not password_hash.startswith("$argon2id$"):
        raise StoreError(f"The password of {account.name!r} must come hashed with argon2id.")
    row = {
        "name": account.name,
        "role": account.role.value,
        "owner": account.owner,
        "password_hash": password_hash,
        "sandbox": sandbox,
    }
    connection.execute(_SQL["save"], row)
    end_sessions(connection, account.name)


def find(connection: Connection, name: str) -> StoredAccount | None:
    """The account of that name, active or not."""
    row = connection.execute(_SQL["find"], {"name": name}).fetchone()
    return _stored(row) if row else None


def accounts(connection: Connection) -> list[StoredAccount]:
    """All accounts by name."""
    return [_stored(row) for row in connection.execute(_SQL["all"])]


def _stored(row: tuple[Any, ...]) -> StoredAccount:
    name, role, owner, password_hash, active, sandbox = row
    return StoredAccount(Account(name, Role(role), owner), password_hash, active, sandbox)


def deactivate(connection: Connection, name: str) -> None:
    """Closes the account and ends its sessions; StoreError when there is none of that name."""
    if not connection.execute(_SQL["deactivate"], {"name": name}).rowcount:
        raise StoreError(f"There is no account {name!r}.")
    end_sessions(connection, name)


def end_sessions(connection: Connection, name: str) -> int:
    """Ends all sessions of the account; how many there were."""
    return connection.execute(_SQL["end_sessions"], {"name": name}).rowcount


def open_session(
    connection: Connection, token_hash: bytes, name: str, now: datetime, expires_at: datetime
) -> None:
    """Opens a session for an active account. token_hash: SHA-256 of the token, 32 bytes.

    Raises StoreError when there is no such active account.
    """
    row = {
        "token_hash": token_hash,
        "name": name,
        "now": utc(now),
        "expires_at": utc(expires_at),
    }
    if not connection.execute(_SQL["open_session"], row).rowcount:
        raise StoreError(f"There is no active account {name!r}.")


def session(connection: Connection, token_hash: bytes, now: datetime) -> Session | None:
    """The session of that token: not expired, its account active. None otherwise."""
    row = connection.execute(
        _SQL["session"], {"token_hash": token_hash, "now": utc(now)}
    ).fetchone()
    if row is None:
        return None
    name, role, owner, created_at, seen_at, expires_at = row
    return Session(Account(name, Role(role), owner), created_at, seen_at, expires_at)


def see(connection: Connection, token_hash: bytes, now: datetime) -> None:
    """Notes that the session is in use, for an idle time-out."""
    connection.execute(_SQL["see"], {"token_hash": token_hash, "now": utc(now)})


def close_session(connection: Connection, token_hash: bytes) -> None:
    """Ends the session, if there is one."""
    connection.execute(_SQL["close_session"], {"token_hash": token_hash})


def sweep(connection: Connection, now: datetime) -> int:
    """Removes expired sessions; how many."""
    return connection.execute(_SQL["sweep"], {"now": utc(now)}).rowcount
