"""Factors: the published numbers, the year that applies, and nothing unknown gets in."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources

import pytest

from carbon.factorset import COLUMNS, FactorSet, build, load, plain_zone
from core.errors import ConfigurationError
from core.findings import Severity

SUMMER_2026 = datetime(2026, 6, 22, 4, tzinfo=UTC)
HEADER = ",".join(COLUMNS)
GOOD = (
    "demo_2023.a,electricity_location,广东,Guangdong,province,0.4419,kgCO2/kWh,average,"
    "2023-01-01,2024-01-01,a notice,2023,"
)


@pytest.fixture(scope="module")
def factors() -> FactorSet:
    return load()


def test_every_file_of_the_folder_is_read(factors: FactorSet):
    folder = resources.files("carbon") / "factors"
    names = {p.name.removesuffix(".csv") for p in folder.iterdir() if p.name.endswith(".csv")}
    assert {"mee_2021", "mee_2022", "mee_2023"} <= names
    assert {f.id.split(".")[0] for f in factors.factors.values()} == names
    assert len(factors.zones()) == 30
    assert len(factors.zones("region")) == 7


@pytest.mark.parametrize(
    ("year", "zone", "basis", "value", "notice"),
    [
        # 公告2024年第12号, 2024年第33号, 2025年第47号, as printed.
        (2021, "北京", "average", "0.5688", "公告2024年第12号"),
        (2021, "西南", "average", "0.2113", "公告2024年第12号"),
        (2022, "全国", "average", "0.5366", "公告2024年第33号"),
        (2022, "全国", "average_excluding_traded_non_fossil", "0.5856", "公告2024年第33号"),
        (2023, "全国", "average", "0.5306", "公告2025年第47号"),
        (2023, "全国", "average_excluding_traded_non_fossil", "0.6096", "公告2025年第47号"),
        (2023, "全国", "fossil", "0.8273", "公告2025年第47号"),
    ],
)
def test_published_values(
    factors: FactorSet, year: int, zone: str, basis: str, value: str, notice: str
):
    choice = factors.grid_factor(zone, datetime(year, 7, 1, tzinfo=UTC), basis=basis)
    assert choice.factor.value == Decimal(value)
    assert choice.factor.source == notice
    assert choice.factor.unit == "kgCO2/kWh"
    assert choice.findings == ()


def test_a_year_without_a_factor_uses_the_newest_before_it_and_says_so(factors: FactorSet):
    choice = factors.national(SUMMER_2026)
    assert choice.factor.id == "mee_2023.electricity_location.china"
    assert choice.carried_forward
    assert not choice.national_instead
    (finding,) = choice.findings
    assert finding.severity is Severity.INFO
    assert "2026" in finding.message


def test_the_year_turns_by_the_calendar_of_china(factors: FactorSet):
    before = factors.national(datetime(2022, 12, 31, 15, 59, tzinfo=UTC))
    after = factors.national(datetime(2022, 12, 31, 16, 0, tzinfo=UTC))
    assert before.factor.edition == "2022"
    assert after.factor.edition == "2023"


def test_xizang_has_no_factor_and_gets_the_national_one_with_a_warning(factors: FactorSet):
    choice = factors.grid_factor("西藏自治区", datetime(2023, 5, 1, tzinfo=UTC))
    assert choice.factor.zone == "全国"
    assert choice.national_instead
    assert [f.severity for f in choice.findings] == [Severity.WARNING]
    assert "西藏" in choice.findings[0].message


def test_an_unknown_zone_and_a_time_before_all_factors_are_refused(factors: FactorSet):
    with pytest.raises(ConfigurationError, match="no zone"):
        factors.grid_factor("Atlantis", SUMMER_2026)
    with pytest.raises(ConfigurationError, match="2019"):
        factors.grid_factor("广东", datetime(2019, 5, 1, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match="no emission factor"):
        factors.by_id("nothing")


def test_every_zone_is_found_under_each_of_its_names(factors: FactorSet):
    for factor in factors.factors.values():
        for name in (factor.zone, factor.zone_en):
            assert factors.grid_factor(name, SUMMER_2026).factor.zone == factor.zone
    assert plain_zone("内蒙古自治区") == "内蒙古"
    assert plain_zone("北京市") == "北京"
    assert plain_zone("新疆维吾尔自治区") == "新疆"


def test_provinces_lie_within_what_fuels_allow(factors: FactorSet):
    fossil = factors.grid_factor("全国", SUMMER_2026, basis="fossil").factor.value
    for zone in factors.zones():
        assert 0 < factors.grid_factor(zone, SUMMER_2026).factor.value < fossil


def test_the_life_cycle_factor_never_answers_for_scope_2():
    life_cycle = GOOD.replace("demo_2023.a", "demo_2023.b").replace(
        "electricity_location", "electricity_life_cycle"
    )
    life_cycle = life_cycle.replace("kgCO2/kWh", "kgCO2e/kWh").replace("0.4419", "0.6205")
    both = build({"demo_2023.csv": "\n".join([HEADER, life_cycle, GOOD])})
    assert both.grid_factor("广东", SUMMER_2026).factor.id == "demo_2023.a"
    alone = build({"demo_2023.csv": "\n".join([HEADER, life_cycle])})
    with pytest.raises(ConfigurationError, match="No grid factor"):
        alone.grid_factor("广东", SUMMER_2026)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, GOOD], "there twice"),
        ([GOOD, GOOD.replace("demo_2023.a", "demo_2023.b")], "states again"),
        ([GOOD.replace("kgCO2/kWh", "lb/kWh")], "'lb/kWh' is not known"),
        ([GOOD.replace("kgCO2/kWh", "kgCO2e/kWh")], "is not known for it"),
        ([GOOD.replace("electricity_location", "steam")], "unknown quantity"),
        ([GOOD.replace("province", "planet")], "unknown zone level"),
        ([GOOD.replace("0.4419", "0,4419")], "cell too many"),
        ([GOOD.replace("0.4419", "much")], "cannot be read"),
        ([GOOD.replace("0.4419", "NaN")], "no sense"),
        ([GOOD.replace("0.4419", "-1")], "no sense"),
        ([GOOD.replace("2024-01-01", "2023-01-01")], "no sense"),
        ([GOOD.replace("2024-01-01", "soon")], "cannot be read"),
        ([GOOD.replace("a notice", "")], "source"),
        ([GOOD.replace("demo_2023.a", "other.a")], "name of its file"),
    ],
)
def test_what_cannot_be_used_stops_the_start(rows: list[str], message: str):
    with pytest.raises(ConfigurationError, match=message):
        build({"demo_2023.csv": "\n".join([HEADER, *rows])})


def test_other_columns_and_an_empty_folder_stop_the_start():
    with pytest.raises(ConfigurationError, match="columns"):
        build({"demo_2023.csv": "id,value\n1,2\n"})
    with pytest.raises(ConfigurationError, match="no factor file"):
        build({})
