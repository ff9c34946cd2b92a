"""``verdigrid ingest hj212-request``: ask an HJ 212 station, through the running server."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit
from core.errors import ConfigurationError
from ingest import hj212_control


class Request(StrEnum):
    """What a station can be asked."""

    CLOCK = "clock"
    SET_CLOCK = "set-clock"
    RECOLLECT = "recollect"


def command(
    mn: Annotated[str, typer.Argument(help="The station's MN.")],
    what: Annotated[
        Request,
        typer.Argument(help="Read its clock, set it, or have it send a period again."),
    ],
    at: Annotated[
        str | None, typer.Option(help="set-clock: ISO 8601 with zone; default the city's time.")
    ] = None,
    cn: Annotated[
        str, typer.Option(help="recollect: 2051 minute, 2061 hour, 2031 day, 2011 real-time data.")
    ] = "2051",
    begin: Annotated[str | None, typer.Option(help="recollect: ISO 8601 with zone.")] = None,
    end: Annotated[str | None, typer.Option(help="recollect: ISO 8601 with zone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a connected HJ 212 station for its clock or for missing data."""
    request = {"do": what.value, "mn": mn}
    if what is Request.SET_CLOCK and at:
        request["at"] = at
    if what is Request.RECOLLECT:
        if not begin or not end:
            raise ConfigurationError("To collect a period again, give its --begin and --end.")
        request |= {"cn": cn, "begin": begin, "end": end}
    path = settings.load().run_folder / hj212_control.SOCKET_NAME
    reply = hj212_control.ask(path, request)
    emit("Answer", [{"station": mn, **reply}], ("station", *reply), as_json=as_json)
