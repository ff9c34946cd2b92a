"""``verdigrid whatif``: the plan of a city that is not quite this one, beside the plan of this."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app import settings, whatifs
from app.commands.dispatch import FIGURES
from app.commands.output import AsJson, emit_json, emit_table
from app.planning import network_of
from app.progress import console
from app.whatifs import Outcome
from app.wiring import load_city, open_database
from core.errors import ConfigurationError
from core.whatif import Changes
from optimization.result import Status


def command(
    base: Annotated[
        int | None, typer.Option(help="The run to start from; the plan in force by default.")
    ] = None,
    tariff_factor: Annotated[
        float | None, typer.Option(help="The import tariff times this.")
    ] = None,
    tariff: Annotated[
        Path | None,
        typer.Option(
            help="CSV of another tariff: hour, import_cny_per_mwh and perhaps export_cny_per_mwh."
        ),
    ] = None,
    carbon: Annotated[
        float | None, typer.Option(help="Another carbon price, CNY for each tonne CO2e.")
    ] = None,
    line: Annotated[
        list[int] | None, typer.Option(help="A line out of service, by its number; repeat.")
    ] = None,
    trafo: Annotated[
        list[int] | None, typer.Option(help="A transformer out of service; repeat.")
    ] = None,
    open_switch: Annotated[
        list[int] | None, typer.Option(help="A switch that is opened; repeat.")
    ] = None,
    close_switch: Annotated[
        list[int] | None, typer.Option(help="A switch that is closed; repeat.")
    ] = None,
    pv: Annotated[float | None, typer.Option(help="So many times the PV, where it stands.")] = None,
    ev: Annotated[
        float | None, typer.Option(help="So many times the charging of vehicles.")
    ] = None,
    battery: Annotated[str, typer.Option(help="A battery more: BUS:MW:MWH, such as 12:1:4.")] = "",
    as_json: AsJson = False,
) -> None:
    """Plan a copy of the city with something changed and compare it; nobody ever follows it.

    The copy knows what the run it starts from knew. Exit code 2 when its plan is not optimal or
    limits stay violated.
    """
    asked = Changes(
        tariff_factor=tariff_factor,
        carbon_cny_per_tco2e=carbon,
        pv_factor=pv,
        ev_factor=ev,
        lines=tuple(line or ()),
        trafos=tuple(trafo or ()),
        open_switches=tuple(open_switch or ()),
        close_switches=tuple(close_switch or ()),
    )
    first = [whatifs.tariff_file(tariff)] if tariff else []
    last = [whatifs.battery(*_sizes(battery))] if battery else []
    with open_database(settings.load()) as database:
        city = load_city(database)
        network = network_of(city)
        changes = [*first, *whatifs.changes_of(network, asked), *last]
        with console.status("Planning ...") as shown:
            outcome = whatifs.run(
                city,
                network,
                changes,
                base_run=base,
                progress=lambda text: shown.update(text),
            )
    plan = outcome.made.plan
    title = ", ".join(change.text_en for change in changes)
    if as_json:
        emit_json(
            {
                "run_id": outcome.made.run_id,
                "base_run": outcome.base.id,
                "simulated": city.site.simulated,
                "title": title,
                "findings": [str(f) for change in changes for f in change.findings],
                "base": outcome.base.summary["planned"],
                **plan.summary(),
            }
        )
    else:
        _show(outcome, title, [str(f) for change in changes for f in change.findings])
    if plan.status is not Status.OPTIMAL or plan.violations:
        sys.exit(2)


def _sizes(text: str) -> tuple[int, float, float]:
    try:
        bus, power, energy = text.split(":")
        return int(bus), float(power), float(energy)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no battery; write BUS:MW:MWH, such as 12:1:4."
        ) from error


def _show(outcome: Outcome, title: str, findings: Sequence[str]) -> None:
    before, plan = outcome.base.summary["planned"], outcome.made.plan
    after = plan.summary()["planned"] or {}
    rows = []
    for name, figure, unit in (*FIGURES, ("curtailed_mwh", "Curtailed", "MWh")):
        values = before.get(name), after.get(name)
        change = None if None in values else values[1] - values[0]
        rows.append((figure, unit, *values, change))
    emit_table(
        f"What if: {title}",
        ("figure", "unit", f"run {outcome.base.id}", f"run {outcome.made.run_id}", "change"),
        rows,
    )
    console.print(f"Status {plan.status}; nobody follows it.")
    for finding in (*findings, *map(str, plan.violations)):
        console.print(f"  {finding}", markup=False)
