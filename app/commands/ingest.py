"""``verdigrid ingest``: readings in, by whatever devices speak."""

from __future__ import annotations

import threading
from contextlib import closing

import typer

from app import receiving, settings
from app.commands import devices, files, hj212_request
from app.commands.output import AsJson, LogJson, emit, log_json
from app.lifeline import end_with_parent
from app.signals import stop_event
from app.wiring import City, LiveTagMap, StoreSink, broker_access, open_database
from ingest import protocols
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_wire import Version

group = typer.Typer(help="Collect readings.", no_args_is_help=True)
group.command("file")(files.import_files)
group.command("folder")(files.watch_folder)
group.command("hj212-request")(hj212_request.command)
group.command("devices")(devices.list_devices)
group.command("profiles")(devices.list_profiles)
group.command("register")(devices.register)


@group.command()
def mqtt(as_json: LogJson = False) -> None:
    """Receive from the MQTT broker until SIGTERM; acknowledges after the commit only."""
    end_with_parent()
    log_json(as_json)
    chosen = settings.load()
    stop = stop_event()
    with open_database(chosen) as database:

        def work(city: City, spoken: protocols.Protocols, until: threading.Event) -> None:
            with closing(StoreSink(database, pace=city.clock.pace)) as sink:
                run_mqtt(
                    MqttSettings(
                        access=broker_access(chosen),
                        client_id=chosen.client_id,
                        version=Version.V5 if chosen.mqtt_version == "5" else Version.V3_1_1,
                        share=chosen.broker_share,
                        batch=receiving.batch_settings(chosen),
                        quota=receiving.quota(chosen),
                    ),
                    sink,
                    LiveTagMap(database),
                    city.now,
                    until,
                    receiving.reporter(),
                    protocols=spoken,
                )

        receiving.follow(database, stop, receiving.spoken_in, work)


def _field(name: str, as_json: bool) -> None:
    from app import fieldwork  # the libraries of devices take a second to load

    end_with_parent()
    log_json(as_json)
    chosen = settings.load()
    make = {
        "field": fieldwork.enabled,
        "hj212": fieldwork.hj212,
        "ocpp": fieldwork.ocpp,
        "sunspec": fieldwork.sunspec,
    }
    stop = stop_event()
    with open_database(chosen) as database:
        receiving.run_field(chosen, database, stop, make[name], name)


@group.command()
def field(as_json: LogJson = False) -> None:
    """Receive by all protocols without a broker that are switched on, until SIGTERM."""
    _field("field", as_json)


@group.command()
def hj212(as_json: LogJson = False) -> None:
    """Receive from HJ 212 stations until SIGTERM, on VERDIGRID_HJ212_PORT."""
    _field("hj212", as_json)


@group.command()
def ocpp(as_json: LogJson = False) -> None:
    """Be the central system of EV chargers until SIGTERM, on VERDIGRID_OCPP_PORT."""
    _field("ocpp", as_json)


@group.command()
def sunspec(as_json: LogJson = False) -> None:
    """Poll the Modbus devices that the city links to until SIGTERM, SunSpec or not."""
    _field("sunspec", as_json)


@group.command("protocols")
def list_protocols(as_json: AsJson = False) -> None:
    """The protocols that were found, one file each."""
    found = protocols.find()
    rows = [
        {"name": p.name, "by": "MQTT", "reads": ", ".join(p.topics)}
        if p.topics
        else {"name": p.name, "by": "a receiver of its own", "reads": ", ".join(p.sources)}
        for p in found.messages
    ]
    described = set(protocols.spoken()) - {row["name"] for row in rows}
    rows += [
        {"name": name, "by": "MQTT", "reads": "the topics of its device profiles"}
        for name in sorted(described)
    ]
    rows += [{"name": p.name, "by": "file", "reads": ", ".join(p.suffixes)} for p in found.files]
    emit("Protocols", rows, ("name", "by", "reads"), as_json=as_json)
