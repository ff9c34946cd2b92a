"""A city as JSON and back: nothing is lost, and what is malformed is named."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, DeviceProfile, Enterprise, Link, ProfileTag, Site, Tag
from core.sitetree import from_tree, to_tree
from core.variables import VARIABLES

NETWORK = '{"bus": []}'

names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True)
words = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
plain = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
assets = st.builds(
    Asset,
    id=names,
    kind=st.sampled_from(AssetKind),
    name_en=words,
    name_zh=words,
    lat=st.none() | numbers,
    lon=st.none() | numbers,
    owner=words,
    element=st.sampled_from(["", "load", "sgen", "storage"]),
    element_index=st.integers(-1, 10_000),
    parameters=st.dictionaries(words, plain, max_size=3),
)
series = st.builds(
    Series,
    site=st.just("demo"),
    asset=names,
    variable=st.sampled_from(sorted(VARIABLES)),
    resolution=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=2)),
    kind=st.sampled_from(SeriesKind),
    owner=words,
    timezone=st.sampled_from(["UTC", "Asia/Shanghai"]),
    simulated=st.booleans(),
)


@st.composite
def sites(draw: st.DrawFn) -> Site:
    some = tuple(draw(st.lists(assets, max_size=4, unique_by=lambda a: a.id)))
    values = tuple(draw(st.lists(series, max_size=4, unique_by=lambda s: s.key)))
    owned = st.lists(st.sampled_from([a.id for a in some]), unique=True) if some else st.just([])
    firm = Enterprise("ent", draw(words), draw(words), "steel", "内蒙古", tuple(draw(owned)))
    keys = [s.key for s in values]
    tags = [Tag(draw(words), draw(words), "kW", key) for key in keys]
    return Site(
        id=draw(names),
        name_en=draw(words),
        name_zh=draw(words),
        timezone="Asia/Shanghai",
        lat=draw(numbers),
        lon=draw(numbers),
        simulated=draw(st.booleans()),
        network_json=NETWORK,
        assets=some,
        enterprises=(firm,),
        series=values,
        tags=tuple(tags),
        plan_resolution=draw(st.sampled_from([timedelta(minutes=m) for m in (5, 15, 30, 60)])),
        parameters=draw(st.dictionaries(words, plain, max_size=3)),
    )


def least() -> dict[str, Any]:
    """The least of everything, as a person would write it."""
    return {
        "id": "town",
        "name_en": "Town",
        "name_zh": "镇",
        "timezone": "Asia/Shanghai",
        "lat": 40,
        "lon": 111.5,
        "simulated": False,
        "plan_resolution": 900,
        "assets": [
            {
                "id": "battery-0",
                "kind": "battery",
                "name_en": "Battery",
                "name_zh": "储能",
                "parameters": {"p_max_mw": 1.0},
            }
        ],
        "enterprises": [
            {
                "id": "ent",
                "name_en": "Works",
                "name_zh": "厂",
                "sector": "steel",
                "province": "内蒙古",
                "assets": ["battery-0"],
            }
        ],
        "series": [{"site": "town", "asset": "battery-0", "variable": "p_mw", "resolution": 900}],
        "tags": [{"device": "b", "tag": "p", "unit": "kW", "series_key": "town/battery-0/p_mw"}],
    }


@pytest.fixture
def tree() -> dict[str, Any]:
    return least()


@given(sites())
def test_through_json_and_back_nothing_is_lost(site: Site) -> None:
    text = json.dumps(to_tree(site), ensure_ascii=False)
    assert NETWORK not in text
    assert from_tree(json.loads(text), NETWORK) == site


def test_the_tree_is_a_copy(tree: dict[str, Any]) -> None:
    site = from_tree(tree, NETWORK)
    to_tree(site)["assets"][0]["parameters"]["p_max_mw"] = 9.0
    assert site.assets[0].parameters == {"p_max_mw": 1.0}


def test_a_part_of_a_part_is_named_by_its_whole_path(tree: dict[str, Any]) -> None:
    wrong = {"tag": "p", "variable": "p_mw", "unit": "kWh"}
    tree["profiles"] = [
        {"name": "x", "protocol": "json", "pattern": "*", "kind": "meter", "tags": [wrong]}
    ]
    with pytest.raises(ConfigurationError) as refused:
        from_tree(tree, "")
    assert str(refused.value) == (
        "profiles[0].tags[0] in the description of the city cannot be used: "
        "Cannot convert 'kWh' to 'MW': they measure different quantities."
    )


def test_what_may_be_left_out_has_its_default(tree: dict[str, Any]) -> None:
    for name in ("plan_resolution", "assets", "enterprises", "series", "tags"):
        del tree[name]
    site = from_tree(tree, "")
    assert site.plan_resolution == timedelta(minutes=15)
    assert site.assets == site.enterprises == site.series == site.tags == ()
    assert site.parameters == {}


MISSING = object()
MALFORMED: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("id",), MISSING, "city .*'id'"),
    (("id",), 7, "city .*'id' cannot be 7"),
    (("lat",), "north", "city .*'lat' cannot be 'north'"),
    (("lon",), True, "city .*'lon' cannot be True"),
    (("lat",), float("nan"), "city .*'lat' cannot be nan"),
    (("simulated",), "no", "city .*'simulated'"),
    (("timezone",), "Nowhere/Town", "city .*Nowhere/Town"),
    (("timezone",), None, "city .*'timezone'"),
    (("parameters",), [1], "city .*'parameters'"),
    (("plan_resolution",), "15 min", "city .*"),
    (("plan_resolution",), 0, "city .*do not divide the day"),
    (("plan_resolution",), -900, "city .*do not divide the day"),
    (("plan_resolution",), 7 * 60, "city .*do not divide the day"),
    (("plan_resolution",), float("inf"), "city .*"),
    (("plan_resolution",), 1e300, "city .*"),
    (("no_such_thing",), 1, "city .*no_such_thing"),
    (("network_json",), "", "city .*network_json"),
    (("assets",), {}, "'assets' .* must be a list"),
    (("assets",), "battery-0", "'assets' .* must be a list"),
    (("series",), None, "'series' .* must be a list"),
    (("assets", 0), "battery-0", r"assets\[0\]"),
    (("assets", 0), None, r"assets\[0\]"),
    (("assets", 0, "kind"), MISSING, r"assets\[0\].*'kind' is missing"),
    (("assets", 0, "kind"), "dragon", r"assets\[0\].*dragon"),
    (("assets", 0, "kind"), [], r"assets\[0\]"),
    (("assets", 0, "name_en"), MISSING, r"assets\[0\].*name_en"),
    (("assets", 0, "id"), 5, r"assets\[0\].*'id' cannot be 5"),
    (("assets", 0, "lat"), "40", r"assets\[0\].*'lat' cannot be '40'"),
    (("assets", 0, "element_index"), 1.5, r"assets\[0\].*'element_index' cannot be 1.5"),
    (("assets", 0, "element_index"), True, r"assets\[0\].*'element_index' cannot be True"),
    (("assets", 0, "parameters"), None, r"assets\[0\].*'parameters'"),
    (("assets", 0, "colour"), "red", r"assets\[0\].*colour"),
    (("enterprises", 0, "assets"), MISSING, r"enterprises\[0\].*'assets' is missing"),
    (("enterprises", 0, "assets"), 3, r"enterprises\[0\]"),
    (("enterprises", 0, "assets"), [3], r"enterprises\[0\].*'assets'"),
    (("enterprises", 0, "assets"), "battery-0", r"enterprises\[0\].*no asset"),
    (("enterprises", 0, "assets"), ["x"], r"enterprises\[0\].*no asset 'x'"),
    (("enterprises", 0, "province"), None, r"enterprises\[0\].*'province'"),
    (("series", 0, "variable"), "p_kw", r"series\[0\].*p_kw"),
    (("series", 0, "variable"), [], r"series\[0\]"),
    (("series", 0, "asset"), "Battery 0", r"series\[0\].*Battery 0"),
    (("series", 0, "timezone"), "Mars", r"series\[0\].*Mars"),
    (("series", 0, "kind"), "guessed", r"series\[0\].*guessed"),
    (("series", 0, "resolution"), "fast", r"series\[0\]"),
    (("series", 0, "resolution"), 1e300, r"series\[0\]"),
    (("series", 0, "simulated"), 1, r"series\[0\].*'simulated' cannot be 1"),
    (("tags", 0, "unit"), MISSING, r"tags\[0\].*unit"),
    (("tags", 0, "unit"), 1, r"tags\[0\].*'unit' cannot be 1"),
    (("tags", 0, "series_key"), "town/x/p_mw", r"tags\[0\].*no series 'town/x/p_mw'"),
    (("tags", 0), ["b", "p"], r"tags\[0\]"),
]


@pytest.mark.parametrize(("where", "value", "said"), MALFORMED)
def test_a_malformed_part_is_named(
    tree: dict[str, Any], where: tuple[str | int, ...], value: Any, said: str
) -> None:
    from_tree(copy.deepcopy(tree), NETWORK)  # whole it is fine
    place: Any = tree
    for step in where[:-1]:
        place = place[step]
    if value is MISSING:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    with pytest.raises(ConfigurationError, match=said):
        from_tree(tree, NETWORK)


@pytest.mark.parametrize("part", ["assets", "enterprises", "series"])
def test_nothing_is_there_twice(tree: dict[str, Any], part: str) -> None:
    tree[part].append(copy.deepcopy(tree[part][0]))
    with pytest.raises(ConfigurationError, match=rf"{part}\[1\].* is there twice"):
        from_tree(tree, NETWORK)


@given(plain)
def test_whatever_is_handed_in_is_answered_by_a_sentence(anything: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"description of (a|the) city"):
        from_tree(anything, NETWORK)


@given(st.data(), plain)
def test_whatever_stands_in_a_field_it_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    tree = least()
    place = tree[data.draw(st.sampled_from(["assets", "enterprises", "series", "tags"]))]
    place[0][data.draw(st.sampled_from(sorted(place[0])))] = value
    try:
        site = from_tree(tree, NETWORK)
    except ConfigurationError:
        return
    assert from_tree(json.loads(json.dumps(to_tree(site))), NETWORK) == site


PROFILE = DeviceProfile(
    "air",
    "hj212",
    "A11*",
    AssetKind.AIR_STATION,
    (ProfileTag("a34004-Avg@2051", "pm2_5", "µg/m3", 300.0), ProfileTag("x", "pm10", "mg/m3")),
    register=True,
    district="north",
    parameters={"password": "123456", "keep": ["*-Avg@2051"]},
)
LINK = Link("sunspec", "pv-7", "10.0.7.20", 502, 10.0, {"unit": 1})


def test_profiles_and_links_come_back() -> None:
    site = Site(
        "demo",
        "",
        "",
        "UTC",
        0.0,
        0.0,
        True,
        "",
        (),
        (),
        (),
        (),
        profiles=(PROFILE,),
        links=(LINK,),
    )
    assert from_tree(json.loads(json.dumps(to_tree(site))), "") == site


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ({"tag": "t", "variable": "nothing", "unit": "MW"}, "nothing"),
        ({"tag": "t", "variable": "p_mw", "unit": "bar"}, "bar"),
        ({"tag": "t", "variable": "pm2_5", "unit": "µg/m3", "resolution_s": 3600.0}, "one series"),
    ],
)
def test_a_profile_of_no_use_is_named(tag: dict[str, Any], said: str) -> None:
    site = Site("demo", "", "", "UTC", 0.0, 0.0, True, "", (), (), (), (), profiles=(PROFILE,))
    tree = json.loads(json.dumps(to_tree(site)))
    tree["profiles"][0]["tags"].append(tag)
    with pytest.raises(ConfigurationError, match=said):
        from_tree(tree, "")
