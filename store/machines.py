"""Machines: the tokens they show, and what they sent under which idempotency key.

Of a token only its hash is kept. A token belongs to an account with the role of a machine; when
that is closed, its tokens are worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from core.accounts import Account, Role
from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("machines")

_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. active: whether its account is open."""

    id: int
    account: str
    label: str
    created_at: datetime
    expires_at: datetime
    seen_at: datetime | None
    revoked_at: datetime | None
    active: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that was answered: the SHA-256 of its content, and the report."""

    content_hash: bytes
    report: dict[str, Any]


def add_token(
    connection: Connection,
    account: str,
    token_hash: bytes,
    *,
    label: str,
    at: datetime,
    expires_at: datetime,
) -> int:
    """Keeps a token of a machine; its id. token_hash: SHA-256 of the token, 32 bytes.

    Raises StoreError when there is no open account of that name with the role of a machine.
    """
    row = {
        "account": account,
        "role": Role.MACHINE.value,
        "token_hash": token_hash,
        "label": label,
        "at": utc(at),
        "expires_at": utc(expires_at),
    }
    made = connection.execute(_SQL["add_token"], row).fetchone()
    if made is None:
        raise StoreError(f"There is no open account {account!r} of a machine.")
    return int(made[0])


def tokens(connection: Connection) -> list[Token]:
    """All tokens by account, revoked and expired ones too."""
    return [Token(*row) for row in connection.execute(_SQL["tokens"])]


def revoke(connection: Connection, token_id: int, at: datetime) -> None:
    """Makes a token worthless at once; StoreError when there is no such token in use."""
    if not connection.execute(_SQL["revoke"], {"id": token_id, "at": utc(at)}).rowcount:
        raise StoreError(f"There is no token {token_id} in use; `verdigrid account tokens` lists.")


def account_of(connection: Connection, token_hash: bytes, at: datetime) -> Account | None:
    """Whose token that is, now noted as in use; None when it is unknown, has expired, was
    revoked, or its account is closed.
    """
    at = utc(at)
    row = connection.execute(_SQL["account"], {"token_hash": token_hash, "at": at}).fetchone()
    if row is None:
        return None
    name, role, owner, token_id, seen_at = row
    if seen_at is None or at - seen_at >= _SEEN_EVERY:
        connection.execute(_SQL["seen"], {"id": token_id, "at": at})
    return Account(name, Role(role), owner)


def begin(connection: Connection, account: str, key: str, at: datetime) -> Finished | None:
    """Notes that a request with this key has come; what was answered, if it was before.

    None for a new one, and for one that was interrupted: both are to be carried out.
    """
    given = {"account": account, "key": key, "at": utc(at)}
    if connection.execute(_SQL["begin"], given).rowcount:
        return None
    return finished(connection, account, key)


def finished(connection: Connection, account: str, key: str) -> Finished | None:
    """What was answered to the request with this key; None when it was not."""
    row = connection.execute(_SQL["finished"], {"account": account, "key": key}).fetchone()
    return Finished(bytes(row[0]), row[1]) if row else None


def finish(
    connection: Connection,
    account: str,
    key: str,
    *,
    content_hash: bytes,
    report: dict[str, Any],
    at: datetime,
) -> Finished:
    """Keeps the answer to a request; the one that stands, if another sender was faster."""
    given = {
        "account": account,
        "key": key,
        "at": utc(at),
        "content_hash": content_hash,
        "report": Jsonb(report),
    }
    if connection.execute(_SQL["finish"], given).rowcount:
        return Finished(content_hash, report)
    stands = finished(connection, account, key)
    if stands is None:
        raise StoreError(f"The request {key!r} was forgotten while it was carried out.")
    return stands


def forget(connection: Connection, before: datetime) -> int:
    """Removes the requests that began before that time: their keys may be used anew. How many."""
    return connection.execute(_SQL["forget"], {"before": utc(before)}).rowcount
