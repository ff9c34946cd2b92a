"""A description by which a receiver could not work is refused, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import ConfigurationError
from core.series import Series
from core.sites import Asset, AssetKind, DeviceProfile, Link, ProfileTag, Site, Tag
from ingest.description import check

REGISTERS = [{"tag": "p", "address": 0, "type": "float32"}]
TOWN = Site(
    id="town",
    name_en="Town",
    name_zh="镇",
    timezone="Asia/Shanghai",
    lat=40.0,
    lon=111.5,
    simulated=False,
    network_json="",
    assets=(Asset("m", AssetKind.METER, "M", "表"),),
    enterprises=(),
    series=(Series("town", "m", "p_mw", timedelta(minutes=15)),),
    tags=(Tag("dev", "p", "kW", "town/m/p_mw"),),
    parameters={"file_mappings": {"meters": {"time": {"timezone": "Europe/Berlin"}}}},
    profiles=(
        DeviceProfile(
            "air", "hj212", "A*", AssetKind.AIR_STATION, (), parameters={"password": "123456"}
        ),
        DeviceProfile("posts", "ocpp", "post-*", AssetKind.EV_CHARGER, ()),
        DeviceProfile(
            "plant",
            "json",
            "*",
            AssetKind.METER,
            (ProfileTag("p", "p_mw", "kW", 60.0),),
            parameters={"topic": "plant/+", "device": 2},
        ),
    ),
    links=(
        Link("sunspec", "roof", "10.0.0.1", 502),
        Link("modbus", "meter", "10.0.0.2", 502, parameters={"registers": REGISTERS}),
    ),
)


def profile(name: str, /, **changes: Any) -> Site:
    """The town with its profile ``name`` changed."""
    profiles = tuple(replace(p, **changes) if p.name == name else p for p in TOWN.profiles)
    return replace(TOWN, profiles=profiles)


def link(asked_by: str, /, **changes: Any) -> Site:
    """The town with its link that is ``asked_by`` a protocol changed."""
    links = tuple(replace(k, **changes) if k.protocol == asked_by else k for k in TOWN.links)
    return replace(TOWN, links=links)


def tags(*more: Tag) -> Site:
    return replace(TOWN, tags=(*TOWN.tags, *more))


def test_a_description_that_all_receivers_can_use_passes() -> None:
    check(TOWN)


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (profile("plant", protocol="mudbus"), "'plant' names the protocol 'mudbus'; there are "),
        (profile("plant", protocol="csv"), "'plant' names the protocol 'csv'"),
        (profile("plant", parameters={}), "'plant' needs a topic"),
        (
            profile("posts", parameters={"keep": "1:*"}),
            "'posts' cannot be used: 'keep'",
        ),
        (profile("air", parameters={"password": "", "keep": ["a;b"]}), "'keep' holds a ';'"),
        (
            profile("plant", tags=(ProfileTag("p", "p_mw", "kW", -1.0),)),
            "'p' of the device profile 'plant' has a resolution_s below 0",
        ),
        (profile("air", parameters={}), "'air' cannot be used: it needs a password"),
        (
            profile("air", parameters={"password": "", "timezone": "Mars/Base"}),
            "'air' cannot be used: 'Mars/Base' is no time zone",
        ),
        (profile("posts", parameters={"phases": "x"}), "'posts' has a limit_unit, .*of no use"),
        (link("sunspec", port=0), "link to 'roof' cannot be used"),
        (link("sunspec", parameters={"timeout_s": 0}), "'roof' cannot be used: timeout_s"),
        (link("modbus", parameters={"registers": "p"}), "'meter' cannot be used: 'registers'"),
        (link("modbus", protocol="bacnet"), "'meter' names the protocol 'bacnet'"),
        (tags(TOWN.tags[0]), "tag 'p' of the device 'dev' is described twice"),
        (tags(Tag("dev", "e", "kWh", "town/m/p_mw")), "tag 'e' of the device 'dev'.*'kWh'.*'MW'"),
        (
            replace(TOWN, parameters={"file_mappings": {"m": {"time": {"timezone": "X"}}}}),
            "mapping m .*'X'",
        ),
    ],
)
def test_what_a_receiver_cannot_use_is_named(site: Site, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check(site)
