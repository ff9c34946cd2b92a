"""``verdigrid dispatch call add|list|withdraw``: demand-response calls that plans count with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from app import demandcalls, settings
from app.commands.output import AsJson, emit, emit_json
from app.demandcalls import NewCall
from app.progress import console
from app.wiring import load_city, open_database
from core.timeaxis import parse_local, zone
from store import calls

group = typer.Typer(
    help="Calls of demand response: the exchange stays below a limit for some hours.",
    no_args_is_help=True,
)
By = Annotated[str, typer.Option(help="Who says so.")]
COLUMNS = (
    *("id", "name", "start", "end", "limit_mw", "breach_cny_per_mwh", "state", "added_by"),
    "withdrawn_by",
)


@group.command()
def add(
    name: Annotated[str, typer.Argument(help="What the call is called.")],
    start: Annotated[
        str, typer.Option(help="City time 'YYYY-MM-DD HH:MM', or an ISO time with a zone.")
    ],
    end: Annotated[str, typer.Option(help="The same; the call counts until just before it.")],
    limit: Annotated[float, typer.Option(help="Import less export stays at or below so many MW.")],
    price: Annotated[float, typer.Option(help="What each MWh above the limit costs, CNY/MWh.")],
    by: By = "console",
    as_json: AsJson = False,
) -> None:
    """Announce a call; every later plan whose horizon meets it counts with it."""
    with open_database(settings.load()) as database:
        city = load_city(database)
        tz = zone(city.site.timezone)
        call = NewCall(name, parse_local(start, tz), parse_local(end, tz), limit, price)
        with database.connection() as connection:
            call_id = demandcalls.add(connection, call, by, city.now())
    if as_json:
        emit_json({"id": call_id, "name": name})
    else:
        console.print(
            f"Call {call_id} stands; the next plan counts with it, at most a quarter-hour from "
            "now.",
            markup=False,
        )


@group.command("list")
def list_calls(
    everything: Annotated[
        bool, typer.Option("--all", help="Those that are over or withdrawn, too.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Calls that stand, the latest first."""
    with open_database(settings.load()) as database:
        now = load_city(database).now()
        with database.connection() as connection:
            found = calls.recent(connection, limit, None if everything else now)
    rows = [
        {name: getattr(call, name, None) for name in COLUMNS} | {"state": state(call, now)}
        for call in found
        if everything or call.withdrawn_at is None
    ]
    emit("Calls", rows, COLUMNS, as_json=as_json)


@group.command()
def withdraw(
    call_id: Annotated[int, typer.Argument(help="The number of the call, as `list` has it.")],
    by: By = "console",
    as_json: AsJson = False,
) -> None:
    """Withdraw a call; later plans do not count with it."""
    with open_database(settings.load()) as database:
        now = load_city(database).now()
        with database.connection() as connection:
            calls.withdraw(connection, call_id, by, now)
    if as_json:
        emit_json({"id": call_id, "withdrawn": True})
    else:
        console.print(f"Call {call_id} is withdrawn.")


def state(call: calls.Call, now: datetime) -> str:
    """withdrawn, over, running or ahead."""
    if call.withdrawn_at is not None:
        return "withdrawn"
    if call.end <= now:
        return "over"
    return "running" if call.start <= now else "ahead"
