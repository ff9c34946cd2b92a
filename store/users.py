"""Accounts and their sessions. Neither passwords nor tokens are kept, only hashes of them.

There is no account that nobody made: an installation begins without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.accounts import Account, Role
from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("users")


@dataclass(frozen=True, slots=True)
class User:
    """An account with what signing in needs. sandbox: a demo account, for simulated cities only."""

    name: str
    role: Role
    owner: str
    password_hash: str
    active: bool
    sandbox: bool

    @property
    def account(self) -> Account:
        """What permissions are checked with."""
        return Account(self.name, self.role, self.owner)


def add(
    connection: Connection,
    name: str,
    role: Role,
    *,
    owner: str = "",
    password_hash: str,
    sandbox: bool = False,
) -> None:
    """Adds an active account.

    Raises StoreError when the name is taken, or the hash is not one of argon2id.
    """
    _expect_hash(name, password_hash)
    row = {
        "name": name,
        "role": role.value,
        "owner": owner,
        "password_hash": password_hash,
        "sandbox": sandbox,
    }
    if not connection.execute(_SQL["add"], row).rowcount:
        raise StoreError(f"There is an account {name!r} already; choose another name.")


def _expect_hash(name: str, password_hash: str) -> None:
    if not password_hash.startswith("$argon2id$"):
        raise StoreError(f"The password of {name!r} must come hashed with argon2id.")


def set_password(connection: Connection, name: str, password_hash: str) -> None:
    """Gives the account a new password and ends its sessions; StoreError as for ``add``."""
    _expect_hash(name, password_hash)
    _update(connection, "set_password", {"name": name, "password_hash": password_hash})


def set_active(connection: Connection, name: str, *, active: bool) -> None:
    """Opens or closes the account and ends its sessions; StoreError when there is none."""
    _update(connection, "set_active", {"name": name, "active": active})


def _update(connection: Connection, query: str, row: dict[str, Any]) -> None:
    if not connection.execute(_SQL[query], row).rowcount:
        raise StoreError(f"There is no account {row['name']!r}.")
    end_sessions(connection, row["name"])


def find(connection: Connection, name: str) -> User | None:
    """The account of that name, active or not."""
    row = connection.execute(_SQL["find"], {"name": name}).fetchone()
    return _user(row) if row else None


def all_users(connection: Connection) -> list[User]:
    """All accounts by name."""
    return [_user(row) for row in connection.execute(_SQL["all"])]


def _user(row: tuple[Any, ...]) -> User:
    name, role, *rest = row
    return User(name, Role(role), *rest)


def open_session(
    connection: Connection, name: str, token_hash: bytes, *, at: datetime, expires_at: datetime
) -> None:
    """Opens a session for an active account. token_hash: SHA-256 of the token, 32 bytes.

    Raises StoreError when there is no such active account.
    """
    row = {"token_hash": token_hash, "name": name, "at": utc(at), "expires_at": utc(expires_at)}
    if not connection.execute(_SQL["open_session"], row).rowcount:
        raise StoreError(f"There is no active account {name!r}.")


def session_user(
    connection: Connection, token_hash: bytes, *, at: datetime, idle: timedelta
) -> User | None:
    """Whose session that is, now noted as in use; None when it is unknown, has expired, was not
    used for ``idle``, or its account is closed.
    """
    row = {"token_hash": token_hash, "at": utc(at), "idle": idle}
    found = connection.execute(_SQL["session_user"], row).fetchone()
    return _user(found) if found else None


def close_session(connection: Connection, token_hash: bytes) -> None:
    """Ends the session, if there is one."""
    connection.execute(_SQL["close_session"], {"token_hash": token_hash})


def end_sessions(connection: Connection, name: str) -> int:
    """Ends all sessions of the account; how many there were."""
    return connection.execute(_SQL["end_sessions"], {"name": name}).rowcount


def sweep(connection: Connection, at: datetime) -> int:
    """Removes expired sessions; how many."""
    return connection.execute(_SQL["sweep"], {"at": utc(at)}).rowcount
