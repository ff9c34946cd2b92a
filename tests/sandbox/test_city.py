"""The description of the city holds together, and says of itself that it is simulated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandapower
import pytest

from app import asked
from core.sites import AssetKind, Site
from core.units import linear
from core.variables import VARIABLES
from sandbox import city, materialcache
from sandbox.materials import Materials


def test_every_tag_leads_to_a_series_and_every_series_has_one_tag(site: Site) -> None:
    keys = [series.key for series in site.series]
    assert len(set(keys)) == len(keys)
    assert sorted(tag.series_key for tag in site.tags) == sorted(keys)
    assert len({(tag.device, tag.tag) for tag in site.tags}) == len(site.tags)


def test_every_unit_on_the_wire_can_become_the_variable_s(site: Site) -> None:
    for tag in site.tags:
        factor, _ = linear(tag.unit, VARIABLES[tag.series_key.rsplit("/", 1)[1]].unit)
        assert factor > 0


def test_everything_says_that_it_is_simulated(site: Site) -> None:
    assert site.simulated
    assert all(series.simulated for series in site.series)
    assert "simulated" in site.name_en
    assert "模拟" in site.name_zh


def test_assets_stand_in_the_network_where_they_say(site: Site) -> None:
    net = pandapower.from_json_string(site.network_json)
    claimed = Counter((a.element, a.element_index) for a in site.assets if a.element)
    assert max(claimed.values()) == 1
    for table in ("load", "sgen", "storage"):
        assert {i for e, i in claimed if e == table} == set(net[table].index)


def test_the_network_is_ready_for_power_flow(site: Site) -> None:
    net = pandapower.from_json_string(site.network_json)
    assert set(net.trafo.vector_group) == {"YNd5"}
    np.testing.assert_array_equal(net.storage.min_p_mw, -net.storage.sn_mva)
    np.testing.assert_array_equal(net.storage.max_p_mw, net.storage.sn_mva)
    assert "profiles" not in net
    assert len(site.network_json) < 200_000
    pandapower.runpp(net)
    assert net.res_bus.vm_pu.between(0.9, 1.1).all()


def test_enterprises_share_no_meter_and_own_what_they_name(site: Site) -> None:
    by_id = {asset.id: asset for asset in site.assets}
    assert len(site.enterprises) == 20
    named = [asset for enterprise in site.enterprises for asset in enterprise.assets]
    assert len(set(named)) == len(named)
    for enterprise in site.enterprises:
        assert enterprise.assets
        assert {by_id[asset].owner for asset in enterprise.assets} == {enterprise.id}
    owned = {a.id for a in site.assets if a.owner}
    assert owned == set(named)
    assert {s.asset for s in site.series if s.owner} == owned


def test_every_asset_has_two_names_of_its_own(site: Site) -> None:
    for names in ([a.name_en for a in site.assets], [a.name_zh for a in site.assets]):
        assert all(names)
        assert len(set(names)) == len(names)


def test_the_city_lies_105_degrees_east_of_simbench(site: Site) -> None:
    assert site.lat == pytest.approx(53.43, abs=0.05)
    assert site.lon == pytest.approx(116.82, abs=0.05)
    for asset in site.assets:
        assert asset.lat == pytest.approx(site.lat, abs=0.1)
        assert asset.lon == pytest.approx(site.lon, abs=0.1)


def test_the_tariff_offers_nothing_for_importing_what_is_exported(site: Site) -> None:
    by_hour = site.parameters["import_cny_per_mwh_by_hour"]
    assert len(by_hour) == 24
    assert site.parameters["export_cny_per_mwh"] < min(by_hour)


def test_plans_can_be_made_by_what_the_city_asks_of_them(site: Site) -> None:
    asked.check(site)
    (reserve,) = asked.wishes(site).reserves
    parks = {a.id: a.parameters["e_max_mwh"] for a in site.assets if a.id in (reserve.assets or ())}
    assert len(parks) >= 2
    energy_mwh = reserve.requirement_mw.max() * reserve.activation_h
    assert energy_mwh < 0.1 * sum(parks.values())  # a small one


def test_one_seed_is_one_city(source: Materials) -> None:
    assert city.build(source, 3) == city.build(source, 3)
    assert city.build(source, 3).enterprises != city.build(source, 4).enterprises


def test_batteries_name_all_that_a_plan_needs(site: Site) -> None:
    batteries = [a for a in site.assets if a.kind is AssetKind.BATTERY]
    assert len(batteries) == 114
    for asset in batteries:
        p = asset.parameters
        assert 0 <= p["soc_min"] < p["soc_max"] <= 1
        assert 0 < p["efficiency_charge"] <= 1
        assert 0 < p["efficiency_discharge"] <= 1
        assert p["p_max_mw"] > 0
        assert p["e_max_mwh"] > 0


def test_kept_materials_are_the_ones_read(cache: Path, source: Materials) -> None:
    again = materialcache.load(cache)
    assert again.network_json == source.network_json
    np.testing.assert_array_equal(again.profiles, source.profiles)
    np.testing.assert_array_equal(again.loads.profile, source.loads.profile)


def test_a_broken_kept_file_is_made_anew(
    tmp_path: Path, source: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox import simbenchsource

    monkeypatch.setattr(simbenchsource, "extract", lambda: source)
    materialcache.load(tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for broken in (whole[: len(whole) // 2], b"PK\x03\x04 half a file", b""):
        kept.write_bytes(broken)
        assert materialcache.load(tmp_path).network_json == source.network_json
        assert kept.stat().st_size == len(whole)
