"""Receivers without a broker, as the settings and the description of the city want them.

What a setting gets wrong is raised here; what the description gets wrong is raised by the receiver
that cannot run by it, when it runs, so that the others do.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from functools import partial

from app.recollection import missing_periods
from app.settings import Settings
from app.wiring import City, LiveTagMap, StoreSink, broker_access
from core.errors import ConfigurationError
from ingest import hj212_control, ocpp_server, setpoint_listener
from ingest import sunspec_poller as poller
from ingest.fieldservice import Accept, Receiver, Report
from ingest.filemapping import of_site
from ingest.folder import FolderSettings, run_folder
from ingest.hj212_server import Hj212Settings, run_hj212
from ingest.hj212_stations import Stations
from ingest.registration import asset_id

log = logging.getLogger(__name__)


def enabled(settings: Settings, city: City) -> list[Receiver]:
    """The receivers that the settings and the description of the city ask for."""
    found = []
    if settings.hj212_port:
        found += hj212(settings, city)
    if settings.ocpp_port:
        found += ocpp(settings, city)
    if poller.settings_for(city.site).links:
        found += sunspec(settings, city)
    if settings.drop_folder:
        found += folder(settings, city)
    if not found:
        log.info("no receiver is switched on; what is left in the spool is stored")
    return found


def hj212(settings: Settings, city: City) -> list[Receiver]:
    """The server for HJ 212 stations; raises ConfigurationError where it has no port."""
    port = _port(settings.hj212_port, "HJ212_PORT")
    missing = missing_periods(city.database, city.now)

    def run(accept: Accept, stop: threading.Event, report: Report) -> None:
        chosen = Hj212Settings(
            stations=Stations(city.site.profiles, city.site.timezone),
            host=settings.field_host,
            port=port,
            control=settings.run_folder / hj212_control.SOCKET_NAME,
            experimental_2025=settings.hj212_2025,
        )
        run_hj212(chosen, accept, city.now, stop, report, missing)

    return [Receiver("hj212", run)]


def ocpp(settings: Settings, city: City) -> list[Receiver]:
    """The central system for chargers; raises ConfigurationError where it has no port."""
    chosen = ocpp_server.settings_for(
        city.site,
        settings.spool_folder / "ocpp-transactions.sqlite",
        host=settings.field_host,
        port=_port(settings.ocpp_port, "OCPP_PORT"),
        certificate=settings.ocpp_cert,
        private_key=settings.ocpp_key,
    )
    described = {tag.device: tag.series_key.split("/")[1] for tag in city.site.tags}
    return [
        Receiver(
            "ocpp",
            lambda accept, stop, report: ocpp_server.run_ocpp(
                chosen,
                accept,
                city.now,
                stop,
                report,
                setpoints=partial(setpoint_listener.listen, broker_access(settings)),
                asset_of=lambda charger: described.get(charger) or asset_id(charger),
            ),
        )
    ]


def sunspec(_: Settings, city: City) -> list[Receiver]:
    """The poller of Modbus devices; raises ConfigurationError where no link names one."""
    chosen = poller.settings_for(city.site)
    if not chosen.links:
        raise ConfigurationError(
            "The city describes no link to a Modbus device; add one to its description and load "
            "it with `verdigrid site load FILE`."
        )
    return [
        Receiver(
            "sunspec",
            lambda accept, stop, report: poller.run_sunspec(chosen, accept, city.now, stop, report),
        )
    ]


def folder(settings: Settings, city: City) -> list[Receiver]:
    """The watcher of the drop folder; raises ConfigurationError where none is named.

    Files need no spool: they stay in the folder until they are imported.
    """
    if settings.drop_folder is None:
        raise ConfigurationError("Set VERDIGRID_DROP_FOLDER to the folder that is watched.")
    path = settings.drop_folder

    def run(_: Accept, stop: threading.Event, report: Report) -> None:
        chosen = FolderSettings(path, mappings=of_site(city.site.parameters))
        with closing(StoreSink(city.database, pace=city.clock.pace)) as sink:
            tag_map = LiveTagMap(city.database, with_keys=True)
            run_folder(chosen, sink, tag_map, city.now, stop, report)

    return [Receiver("folder", run)]


def _port(port: int, name: str) -> int:
    if not port:
        raise ConfigurationError(f"Set VERDIGRID_{name} to the port to listen on; 0 is off.")
    return port
