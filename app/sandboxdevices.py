"""The sandbox's devices that speak other protocols than MQTT: their ports, links and processes."""

from __future__ import annotations

import os
from dataclasses import replace

from app import ports
from app import settings as settings_module
from app.settings import Settings
from app.supervisor import Child
from core.clock import CityClock
from core.sites import Site
from sandbox import hj212_station, ocpp_charger, sunspec_inverter
from store import sites
from store.database import Database

PREFERRED = {"hj212_port": 18212, "ocpp_port": 18887, "sandbox_sunspec_port": 18502}
"""Where they listen unless somebody else does, so that one's own device can join them."""


def with_ports(settings: Settings) -> Settings:
    """``settings`` with a port for each of them, which the children inherit by environment."""
    for name, port in PREFERRED.items():
        if not getattr(settings, name):
            os.environ[f"VERDIGRID_{name.upper()}"] = str(ports.prefer(port))
    return settings_module.load()


def equip(site: Site, settings: Settings) -> Site:
    """``site`` with the profiles of the devices, and the link to the one that is asked."""
    profiles, links = sunspec_inverter.describe(settings.sandbox_sunspec_port)
    own = {
        p.name: p for p in (*profiles, *hj212_station.describe()[0], *ocpp_charger.describe()[0])
    }
    named = {link.device: link for link in links}
    others = tuple(p for p in site.profiles if p.name not in own)
    elsewhere = tuple(link for link in site.links if link.device not in named)
    return replace(site, profiles=(*others, *own.values()), links=(*elsewhere, *named.values()))


def refresh(database: Database, settings: Settings) -> None:
    """Bring the city's description up to the ports of this start."""
    with database.connection() as connection:
        site = sites.load(connection)
        equipped = None if site is None else equip(site, settings)
        if equipped is not None and equipped != site:
            sites.save(connection, equipped)


def children(clock: CityClock) -> list[Child]:
    """One process for each part of the simulated city."""
    arguments = (
        *("--origin-wall", clock.origin_wall.isoformat()),
        *("--origin-city", clock.origin_city.isoformat()),
        *("--pace", str(clock.pace)),
    )
    names = {"sandbox": "city", "station": "station", "inverter": "inverter", "charger": "charger"}
    return [
        Child(name, ("-m", "app.cli", "simulate", part, *arguments)) for name, part in names.items()
    ]
