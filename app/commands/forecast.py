"""``verdigrid forecast``: make a forecast now, and show how the last ones did."""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.foresight import Foresight
from app.progress import console, step
from app.tables import records
from app.wiring import load_city, open_database
from store import forecasts

group = typer.Typer(help="Forecasts of load and generation.", no_args_is_help=True)


@group.command()
def run(as_json: AsJson = False) -> None:
    """Forecast load, PV and wind from now on, store it and score what has come."""
    with open_database(settings.load()) as database:
        foresight = Foresight(load_city(database))
        now = foresight.city.now()
        with step("Learning from the last weeks"):
            foresight.learn(now)
        with step("Forecasting"):
            count = foresight.forecast(now)
        with step("Scoring earlier forecasts"):
            scored = foresight.score(now)
    if as_json:
        emit_json({"known_at": now, "series": count, "scores": scored})
    else:
        console.print(f"{count} series are forecast, {scored} scores are stored.")


@group.command()
def scores(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 40,
    as_json: AsJson = False,
) -> None:
    """The newest scores: pinball loss, mean absolute error, coverage, skill against naive."""
    with open_database(settings.load()) as database, database.connection() as connection:
        found = records(forecasts.scores(connection, limit=limit))
    emit(
        "Scores",
        found,
        ("key", "model", "known_at", "metric", "value"),
        as_json=as_json,
    )
