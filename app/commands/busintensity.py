"""``verdigrid carbon``: carbon intensities by bus."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app import settings
from app.commands.output import AsJson, emit
from app.wiring import open_database
from core.errors import StoreError
from core.timeaxis import HOUR, floor_to, parse
from store import intensities, sites
from store.intensities import BusIntensity

group = typer.Typer(help="Carbon intensities by bus.", no_args_is_help=True)


@group.command()
def intensity(
    hour: Annotated[
        str | None,
        typer.Option(help="ISO 8601 with zone, any time of the hour; default the newest traced."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """kgCO2e/MWh at every bus in an hour, traced from what was measured; empty: nothing passed."""
    with open_database(settings.load()) as database, database.connection() as connection:
        start = floor_to(parse(hour), HOUR) if hour else intensities.newest(connection)
        if start is None:
            raise StoreError("No hour has been traced yet; the books do so once an hour.")
        found = intensities.read(connection, start, start + HOUR)
        site = sites.load(connection)
    if not found:
        raise StoreError(
            f"The hour of {start.isoformat()} was not traced: too few readings, or older than kept."
        )
    names = _names(site.network_json) if site else {}
    emit(
        f"{start.isoformat()}, import {found[0].import_kgco2e_per_mwh:.1f} kgCO2e/MWh",
        _rows(found[0], names),
        ("bus", "name", "kgco2e_per_mwh"),
        as_json=as_json,
    )


def _rows(traced: BusIntensity, names: dict[int, str]) -> list[dict[str, Any]]:
    rows = []
    for bus in traced.buses.tolist():
        value = traced.at(bus)
        rows.append(
            {
                "hour": traced.hour,
                "bus": bus,
                "name": names.get(bus, ""),
                "kgco2e_per_mwh": None if value is None else round(value, 3),
                "import_kgco2e_per_mwh": traced.import_kgco2e_per_mwh,
                "factor_id": traced.factor_id,
                "coverage": traced.coverage,
                "revision": traced.revision,
            }
        )
    return rows


def _names(network_json: str) -> dict[int, str]:
    """Names of buses. Only here: reading a network takes a second."""
    from grid.network import read

    if not network_json:
        return {}
    network = read(network_json)
    names = [name if name != "None" else "" for name in network.geo()["buses"]["name"]]
    return dict(zip(network.buses.tolist(), names, strict=True))
