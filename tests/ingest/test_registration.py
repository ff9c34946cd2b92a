"""A device that fits a profile becomes an asset; every refusal says what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.series import Series
from core.sites import AssetKind, DeviceProfile, ProfileTag, Registration, Route
from ingest.registration import Registrar, asset_id, compare

AIR = DeviceProfile(
    "street sensor",
    "chirpstack",
    "0102*",
    AssetKind.AIR_STATION,
    (ProfileTag("pm2_5", "pm2_5", "µg/m3", 300.0), ProfileTag("t", "temp_air", "degC")),
    register=True,
    district="north",
    owner="bureau",
    parameters={"height_m": 3},
)
SHY = DeviceProfile(
    "by hand", "senml", "meter-*", AssetKind.METER, (ProfileTag("p", "p_mw", "kW"),)
)
REGISTRAR = Registrar("demo", (SHY, AIR), timezone="Asia/Shanghai", simulated=True)


def test_a_fitting_device_becomes_an_asset_with_its_series_and_tags():
    made = REGISTRAR.plan("chirpstack", "0102030405060708", ["pm2_5", "battery"])
    assert isinstance(made, Registration)
    assert (made.device, made.profile) == ("0102030405060708", "street sensor")
    asset = made.asset
    assert (asset.id, asset.kind, asset.district) == ("0102030405060708", AIR.kind, "north")
    assert (asset.owner, asset.parameters) == ("bureau", {"height_m": 3})
    common = {"owner": "bureau", "timezone": "Asia/Shanghai", "simulated": True}
    assert made.series == (
        Series("demo", asset.id, "pm2_5", timedelta(minutes=5), **common),
        Series("demo", asset.id, "temp_air", None, **common),
    )
    assert [(t.device, t.tag, t.unit, t.series_key) for t in made.tags] == [
        ("0102030405060708", "pm2_5", "µg/m3", "demo/0102030405060708/pm2_5"),
        ("0102030405060708", "t", "degC", "demo/0102030405060708/temp_air"),
    ]


@pytest.mark.parametrize(
    ("protocol", "device", "tags", "reason"),
    [
        ("senml", "0102030405060708", ["pm2_5"], "no profile of the protocol senml fits it"),
        ("chirpstack", "0202030405060708", ["pm2_5"], "no profile of the protocol chirpstack"),
        ("senml", "meter-7", ["p"], "'by hand' fits it but does not register by itself"),
        ("chirpstack", "0102030405060708", ["battery"], "none of the tags of 'street sensor'"),
    ],
)
def test_who_is_not_taken_in_is_told_why(protocol, device, tags, reason):
    said = REGISTRAR.plan(protocol, device, tags)
    assert isinstance(said, str)
    assert said.startswith(f"unknown device {device!r}: ")
    assert reason in said


def test_by_hand_any_profile_will_do():
    made = REGISTRAR.registration(REGISTRAR.profile("by hand"), "Zähler 7")
    assert made.tags[0].series_key.startswith("demo/z-hler-7-")
    with pytest.raises(ConfigurationError, match="'by hand', 'street sensor'"):
        REGISTRAR.profile("nobody's")


def test_another_id_goes_through_series_and_tags():
    made = REGISTRAR.plan("chirpstack", "0102030405060708", ["t"]).under("other")
    assert made.asset.id == "other"
    assert {s.asset for s in made.series} == {"other"}
    assert {t.series_key for t in made.tags} == {s.key for s in made.series}
    assert made.device == "0102030405060708"


def test_a_profile_that_changed_says_what_it_makes_of_a_device_that_is_known():
    made = REGISTRAR.registration(AIR, "01")
    routes = [
        Route("01", "pm2_5", "mg/m3", "pm10", 1, 60_000_000),
        Route("01", "battery", "V", "vm_pu", 2),
    ]
    assert [(s.tag, s.change) for s in compare(made, routes)] == [
        ("pm2_5", "measured pm10 before, in mg/m3 before, over 60 s before"),
        ("t", "new"),
        ("battery", "stays, though the profile does not have it"),
    ]
    same = [Route("01", t.tag, t.unit, t.variable, 1, int(t.resolution_s * 1e6)) for t in AIR.tags]
    assert [s.change for s in compare(made, same)] == ["", ""]
    assert [s.change for s in compare(made, [])] == ["new", "new"]


@given(st.text(max_size=120), st.text(max_size=120))
def test_every_name_makes_an_id_of_its_own_that_a_key_can_hold(one, other):
    for name in (one, other):
        Series("demo", asset_id(name), "p_mw")  # raises for what cannot be part of a key
    if one.lower() != other.lower():
        assert asset_id(one) != asset_id(other)
