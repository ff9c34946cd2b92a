"""No callback without a permission: every server-side one goes through the guard."""

from __future__ import annotations

import inspect
import json
from typing import Any

import httpx
import pytest

from core.accounts import Account, Permission, Role
from dashboards.guard import GUARDED
from dashboards.pages import find


def _guarded(function: Any) -> Permission | None:
    """The permission carried by a callback, below the wrappers that Dash puts around it."""
    seen = function
    while seen is not None:
        if hasattr(seen, GUARDED):
            return Permission(getattr(seen, GUARDED))
        seen = getattr(seen, "__wrapped__", None)
    for cell in getattr(function, "__closure__", None) or ():
        if callable(cell.cell_contents) and hasattr(cell.cell_contents, GUARDED):
            return Permission(getattr(cell.cell_contents, GUARDED))
    return None


def test_every_server_side_callback_is_guarded(served: Any) -> None:
    entries = served.dash.callback_map
    clientside = {
        c["output"] for c in served.dash._callback_list if c.get("clientside_function") is not None
    }
    server_side = {name: e for name, e in entries.items() if name not in clientside}
    assert len(server_side) >= 1 + len(find())  # the router and one refresh a page at least
    unguarded = [name for name, e in server_side.items() if _guarded(e["callback"]) is None]
    assert unguarded == []
    assert all(inspect.iscoroutinefunction(e["callback"]) for e in server_side.values())


def _output(part: str) -> dict[str, Any]:
    identifier, _, prop = part.rpartition(".")
    known = json.loads(identifier) if identifier.startswith("{") else identifier
    return {"id": known, "property": prop}


def _refresh(served: Any, page: str) -> httpx.Response:
    """What a browser sends when a page's timer fires."""
    wanted = f"{page}-tick"
    callback = next(
        c
        for c in served.dash._callback_list
        if any(i["id"] == wanted for i in c["inputs"]) and not c.get("clientside_function")
    )
    href = f"/app/{page}?lang=en&theme=light"
    body = {
        "output": callback["output"],
        "outputs": [_output(part) for part in callback["output"].strip(".").split("...")],
        "inputs": [{**i, "value": 1} for i in callback["inputs"]],
        "changedPropIds": [f"{wanted}.n_intervals"],
        "state": [{**s, "value": href if "view" in s["id"] else {}} for s in callback["state"]],
    }
    return httpx.post(f"{served.url}/app/_dash-update-component", json=body, timeout=20)


@pytest.mark.parametrize(
    ("role", "page", "status"),
    [
        (Role.PUBLIC, "dispatch", 403),
        (Role.PUBLIC, "carbon", 403),
        (Role.PUBLIC, "environment", 200),
        (Role.ENTERPRISE, "dispatch", 403),
        (Role.OPERATOR, "dispatch", 200),
        (Role.OPERATOR, "carbon", 403),
        (Role.BUREAU, "carbon", 200),
    ],
)
def test_a_hand_made_request_meets_the_same_door(
    role: Role, page: str, status: int, served: Any
) -> None:
    served.account = Account("somebody", role, owner="ent-00")
    answer = _refresh(served, page)
    assert answer.status_code == status, answer.text[:300]
    if status == 403:
        assert "lacks the permission" in answer.json()["error"]


def test_an_unknown_api_address_is_not_a_page(served: Any) -> None:
    assert httpx.get(f"{served.url}/api/nothing").status_code == 404
    assert (
        httpx.get(f"{served.url}/app/assets/app.css").headers["content-type"].startswith("text/css")
    )
