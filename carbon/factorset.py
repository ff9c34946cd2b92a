"""Emission factors as versioned data: one file per publisher and year, found by its folder.

Each row of ``factors/<publisher>_<year>.csv`` names its quantity, zone, unit, validity, notice and
edition. The dates are those of the calendar year the factor describes. Quantities never mix: a
lookup asks for one quantity, and the location-based factor of purchased electricity is another
quantity than the life-cycle footprint of electricity.

The values of ``mee_*`` were read from text copies of the three ministries' notices; compare them
with the published notices before a number is used for compliance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import PurePath
from types import MappingProxyType

from core.errors import ConfigurationError
from core.findings import Finding, Severity
from core.timeaxis import local_date, zone

ELECTRICITY_LOCATION = "electricity_location"
"""CO2 of the electricity used in a zone, average of its grid mix: location-based scope 2."""
ELECTRICITY_LIFE_CYCLE = "electricity_life_cycle"
"""Greenhouse gases of electricity over its life cycle, for product footprints; not scope 2."""

UNITS: MappingProxyType[str, str] = MappingProxyType(
    {ELECTRICITY_LOCATION: "kgCO2/kWh", ELECTRICITY_LIFE_CYCLE: "kgCO2e/kWh"}
)
"""The one unit each quantity is kept in."""

NATIONAL = "全国"
AVERAGE = "average"
WITHOUT_FACTOR = MappingProxyType(
    {"西藏": "Xizang", "香港": "Hong Kong", "澳门": "Macao", "台湾": "Taiwan"}
)
"""Zones the notices leave out. Any other unknown zone is a mistake, not a gap."""
LEVELS = ("national", "region", "province")
FACTOR_TIMEZONE = "Asia/Shanghai"
"""Where the calendar years of the factors begin and end."""

COLUMNS = [
    *("id", "quantity", "zone", "zone_en", "zone_level", "value", "unit", "basis"),
    *("valid_from", "valid_to", "source", "edition", "url"),
]
_SUFFIXES = ("维吾尔自治区", "壮族自治区", "回族自治区", "自治区", "特别行政区", "省", "市")


@dataclass(frozen=True, slots=True)
class Factor:
    """One published factor: ``value`` in ``unit`` for the days [valid_from, valid_to)."""

    id: str
    quantity: str
    zone: str
    zone_en: str
    zone_level: str
    value: Decimal
    unit: str
    basis: str
    valid_from: date
    valid_to: date
    source: str
    edition: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The factor that answers a question, and how well it fits.

    carried_forward: it describes an earlier year, because none is published for that time.
    national_instead: the zone has no factor of its own, the national average stands in.
    """

    factor: Factor
    carried_forward: bool
    national_instead: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class FactorSet:
    """All factors of an installation, by id."""

    factors: Mapping[str, Factor]

    def by_id(self, factor_id: str) -> Factor:
        """The factor of that id; raises ConfigurationError when there is none."""
        try:
            return self.factors[factor_id]
        except KeyError:
            raise ConfigurationError(f"There is no emission factor {factor_id!r}.") from None

    def zones(self, level: str = "province") -> list[str]:
        """Names of the zones of that level that have a location-based factor, sorted."""
        rows = self.factors.values()
        return sorted(
            {f.zone for f in rows if f.zone_level == level and f.quantity == ELECTRICITY_LOCATION}
        )

    def grid_factor(self, zone_name: str, at: datetime, *, basis: str = AVERAGE) -> Choice:
        """The location-based factor (kgCO2/kWh) of a zone for the aware time ``at``.

        The newest year that is not after ``at`` (by the calendar of China) is taken. A zone
        that the notices leave out (西藏) gets the national average; both ways out are told in the
        findings.
        zone_name: Chinese name of a province, region or the nation, with or without 省, 市, ...,
            or its English name.
        Raises ConfigurationError for an unknown zone and when no factor is old enough, TimeError
        for a naive ``at``.
        """
        name = self._zone(zone_name)
        day = local_date(at, zone(FACTOR_TIMEZONE))
        known = self._of_zone(name, basis)
        chosen = _newest(known or self._of_zone(NATIONAL, basis), day)
        if chosen is None:
            raise ConfigurationError(
                f"No grid factor ({basis}) of {name} describes {day.year} or an earlier year; "
                "add a file to carbon/factors."
            )
        carried = day >= chosen.valid_to
        instead = not known
        findings = _findings(name, day, chosen, carried=carried, instead=instead)
        return Choice(chosen, carried, instead, findings)

    def national(self, at: datetime) -> Choice:
        """The national average (kgCO2/kWh) for the aware time ``at``; see ``grid_factor``."""
        return self.grid_factor(NATIONAL, at)

    def _zone(self, name: str) -> str:
        plain = plain_zone(name)
        for zone_zh, zone_en in WITHOUT_FACTOR.items():
            if plain in (zone_zh, zone_en):
                return zone_zh
        for factor in self.factors.values():
            if plain in (factor.zone, factor.zone_en):
                return factor.zone
        raise ConfigurationError(
            f"{name!r} is no zone of the grid factors; name a province such as 广东 or Guangdong."
        )

    def _of_zone(self, name: str, basis: str) -> list[Factor]:
        return [
            f
            for f in self.factors.values()
            if (f.quantity, f.zone, f.basis) == (ELECTRICITY_LOCATION, name, basis)
        ]


def plain_zone(name: str) -> str:
    """A province's short name: 内蒙古 of 内蒙古自治区, 北京 of 北京市."""
    name = name.strip()
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) + 1:
            return name.removesuffix(suffix)
    return name


def _newest(factors: Iterable[Factor], day: date) -> Factor | None:
    return max((f for f in factors if f.valid_from <= day), key=_year, default=None)


def _year(factor: Factor) -> date:
    return factor.valid_from


def _findings(
    name: str, day: date, chosen: Factor, *, carried: bool, instead: bool
) -> tuple[Finding, ...]:
    found = []
    if instead:
        message = f"{name} has no published grid factor; the national average {chosen.id} is used."
        found.append(Finding("factor", "zone", (name,), message, Severity.WARNING))
    if carried:
        message = f"No factor is published for {day.year}; that of {chosen.edition} is used."
        found.append(Finding("factor", "valid_to", (chosen.id,), message, Severity.INFO))
    return tuple(found)


def load() -> FactorSet:
    """All factors of the folder ``carbon/factors``; ConfigurationError names what is wrong."""
    folder = resources.files("carbon") / "factors"
    files = {p.name: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".csv")}
    return build(files)


def build(files: Mapping[str, str]) -> FactorSet:
    """Factors out of the text of CSV files by file name.

    Raises ConfigurationError for no file, a missing or unknown column, a value that cannot be
    read, an unknown quantity or unit, and a duplicate id or statement.
    """
    if not files:
        raise ConfigurationError("The folder carbon/factors holds no factor file.")
    by_id: dict[str, Factor] = {}
    statements: dict[tuple[str, str, str, date], str] = {}
    for name in sorted(files):
        for factor in _parse(name, files[name]):
            statement = (factor.quantity, factor.zone, factor.basis, factor.valid_from)
            if factor.id in by_id:
                raise ConfigurationError(f"{name}: the factor id {factor.id!r} is there twice.")
            if statement in statements:
                raise ConfigurationError(
                    f"{name}: {factor.id!r} states again what {statements[statement]!r} states."
                )
            by_id[factor.id] = factor
            statements[statement] = factor.id
    return FactorSet(MappingProxyType(by_id))


def _parse(name: str, text: str) -> list[Factor]:
    rows = csv.DictReader(io.StringIO(text))
    if rows.fieldnames != COLUMNS:
        raise ConfigurationError(f"{name}: the columns must be {','.join(COLUMNS)}.")
    return [_factor(name, number, row) for number, row in enumerate(rows, 2)]


def _factor(name: str, number: int, row: Mapping[str | None, str | None]) -> Factor:
    where = f"{name}, line {number}"
    texts = {column: row[column] or "" for column in COLUMNS}
    empty = [column for column in COLUMNS if column != "url" and not texts[column]]
    if None in row or empty:
        raise ConfigurationError(f"{where}: {', '.join(empty) or 'a cell too many'} is not usable.")
    if not texts["id"].startswith(PurePath(name).stem + "."):
        raise ConfigurationError(f"{where}: the id must begin with the name of its file.")
    _check_words(where, texts)
    try:
        value = Decimal(texts.pop("value"))
        start = date.fromisoformat(texts.pop("valid_from"))
        end = date.fromisoformat(texts.pop("valid_to"))
    except (InvalidOperation, ValueError) as error:
        raise ConfigurationError(f"{where}: a number or a date cannot be read: {error}") from error
    if not (value.is_finite() and value >= 0 and start < end):
        raise ConfigurationError(f"{where}: the value or the validity makes no sense.")
    return Factor(value=value, valid_from=start, valid_to=end, **texts)


def _check_words(where: str, texts: Mapping[str, str]) -> None:
    quantity, unit = texts["quantity"], texts["unit"]
    if quantity not in UNITS:
        raise ConfigurationError(f"{where}: unknown quantity {quantity!r}.")
    if unit != UNITS[quantity]:
        raise ConfigurationError(
            f"{where}: {quantity} is kept in {UNITS[quantity]}, {unit!r} is not known for it."
        )
    if texts["zone_level"] not in LEVELS:
        raise ConfigurationError(f"{where}: unknown zone level {texts['zone_level']!r}.")
