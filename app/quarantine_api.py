"""GET /api/v1/quarantine and POST /api/v1/quarantine/replay: dead letters, for who mends them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app.auth import current_account
from app.mending import replay_held
from app.sameorigin import require_same_origin
from app.wiring import City
from core.accounts import Permission, check
from core.timeaxis import parse
from store import quarantine
from store.quarantine import Filter, Held

SHOWN_BYTES = 2_000

MOST_AT_ONCE = 5_000
"""Letters that one request replays; more take more requests, or the command line."""

Text = Annotated[str | None, Query(max_length=300)]


class Wanted(BaseModel):
    """Which letters to replay: those that fit all that is given; source and reason as parts."""

    ids: list[int] | None = Field(default=None, max_length=MOST_AT_ONCE)
    source: str | None = None
    device: str | None = None
    reason: str | None = None
    since: str | None = None
    until: str | None = None


def quarantine_router(known: Callable[[], City]) -> APIRouter:
    """The routes below /api/v1/quarantine. known: the city as it is described now."""
    city = known()  # its database and its clock stay
    router = APIRouter(prefix="/api/v1/quarantine")

    @router.get("", tags=["data"])
    def waiting(
        source: Text = None,
        device: Text = None,
        reason: Text = None,
        since: str | None = None,
        until: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> list[dict[str, Any]]:
        """The newest letters that wait; payloads as text, the first 2,000 bytes."""
        check(current_account(), Permission.QUARANTINE_MEND)
        wanted = Wanted(source=source, device=device, reason=reason, since=since, until=until)
        with city.database.connection() as connection:
            found = quarantine.pending(connection, _filter(wanted), limit=limit, newest_first=True)
        return [_tree(letter) for letter in found]

    @router.post("/replay", tags=["data"])
    def replay(request: Request, wanted: Wanted) -> dict[str, int]:
        """Read letters once more, up to 5,000: how many are in, how many still cannot be read."""
        check(current_account(), Permission.QUARANTINE_MEND)
        require_same_origin(request)
        return asdict(replay_held(known(), _filter(wanted), most=MOST_AT_ONCE))

    return router


def _filter(wanted: Wanted) -> Filter:
    return Filter(
        ids=None if wanted.ids is None else tuple(wanted.ids),
        source=wanted.source,
        device=wanted.device,
        reason=wanted.reason,
        since=parse(wanted.since) if wanted.since else None,
        until=parse(wanted.until) if wanted.until else None,
    )


def _tree(letter: Held) -> dict[str, Any]:
    return {
        "id": letter.id,
        "received_at": letter.received_at.isoformat(),
        "source": letter.source,
        "device": letter.device,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload_bytes": letter.payload_bytes,
        "payload": letter.payload[:SHOWN_BYTES].decode("utf-8", "replace"),
    }
