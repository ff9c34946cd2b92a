"""Tokens of machines: 256 random bits, shown once, of which only a hash is kept (ASVS 5.0 7.2.3).

A machine shows its token with every request (``Authorization: Bearer``). It has no session and no
cookie, so that no web page can make a browser speak in its name.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.auth import hash_password
from core.accounts import Account, Role
from core.errors import ConfigurationError
from store import machines, users
from store.database import Database

log = logging.getLogger(__name__)

PREFIX = "vgt_"
"""In front of every token, so that one that was published by mistake is found."""

LONGEST_DAYS = 3650


def token_hash(token: str) -> bytes:
    """What is kept of a token. It is random: a slow hash would protect nothing more."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token(
    database: Database, account: str, *, label: str, now: datetime, days: int
) -> tuple[int, str]:
    """A token for the machine ``account``, which is made if there is none: id and secret.

    now: wall time. Raises ConfigurationError when the name belongs to a person's account.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    expires_at = now + timedelta(days=days)
    with database.connection() as connection:
        user = users.find(connection, account)
        if user is None:
            # Nobody knows this password: machines do not sign in.
            nobodys = hash_password(secrets.token_hex(32))
            users.add(connection, account, Role.MACHINE, password_hash=nobodys)
        elif user.role is not Role.MACHINE:
            raise ConfigurationError(
                f"The account {account!r} is a person's, and tokens are for machines: "
                "choose another name."
            )
        number = machines.add_token(
            connection, account, token_hash(token), label=label, at=now, expires_at=expires_at
        )
    log.info("token made", extra={"account": account, "token": number})
    return number, token


class TokenCheck:
    """Finds the account behind a token, and slows down those who guess.

    most: different wrong tokens that one address may show within ``window_s``; further ones, and
    right ones too, are then refused until it is over. The same wrong token again costs nothing.
    """

    def __init__(
        self,
        database: Database,
        *,
        most: int = 20,
        window_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._wrong: dict[str, _Wrong] = {}

    def retry_after_s(self, address: str) -> float:
        """For how long tokens of ``address`` are not looked at; 0 when they are."""
        found = self._current(address)
        return found.until - self._clock() if len(found.hashes) >= self._most else 0.0

    def account(self, token: str, address: str, now: datetime) -> Account | None:
        """The account, None for a token that is worth nothing. now: wall time.

        Raises StoreError when the database cannot tell.
        """
        hashed = token_hash(token)
        wrong = self._current(address)
        if hashed in wrong.hashes:
            return None
        with self._database.connection() as connection:
            found = machines.account_of(connection, hashed, now)
        if found is None:
            log.warning("token refused", extra={"address": address})
            if len(self._wrong) >= _MOST_ADDRESSES:
                self._wrong.clear()
            self._wrong.setdefault(address, wrong).hashes.add(hashed)
        return found

    def _current(self, address: str) -> _Wrong:
        found = self._wrong.get(address)
        if found is None or found.until <= self._clock():
            self._wrong.pop(address, None)
            found = _Wrong(self._clock() + self._window_s)
        return found


_MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Wrong:
    """The wrong tokens of an address, remembered until a moment of the clock."""

    until: float
    hashes: set[bytes] = field(default_factory=set)
