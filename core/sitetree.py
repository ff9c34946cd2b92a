"""A city's description as plain JSON values and back: how it is stored and how it is handed in.

The network stays outside of the tree: it is a document of its own, in pandapower's format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from datetime import timedelta
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from core.errors import ConfigurationError, TimeError, VerdigridError
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, DeviceProfile, Enterprise, Link, ProfileTag, Site, Tag
from core.timeaxis import DAY, zone
from core.units import linear
from core.variables import variable

T = TypeVar("T")


def to_tree(site: Site) -> dict[str, Any]:
    """``site`` without its network, as what JSON can hold; durations in seconds."""
    tree = asdict(site)
    del tree["network_json"]
    tree["plan_resolution"] = site.plan_resolution.total_seconds()
    for series in tree["series"]:
        resolution = series["resolution"]
        series["resolution"] = None if resolution is None else resolution.total_seconds()
    return tree


def from_tree(tree: Mapping[str, Any], network_json: str) -> Site:
    """The site that ``to_tree`` made ``tree`` of; ConfigurationError names what is wrong."""
    if not isinstance(tree, Mapping):
        raise ConfigurationError("The description of a city must be a JSON object.")
    parts = dict(tree)
    parts["assets"] = _each(parts, "assets", _asset)
    parts["enterprises"] = _each(parts, "enterprises", _enterprise)
    parts["series"] = _each(parts, "series", _series)
    parts["tags"] = _each(parts, "tags", lambda t: _filled(Tag, t))
    parts["profiles"] = _each(parts, "profiles", _profile)
    parts["links"] = _each(parts, "links", lambda link: _filled(Link, link))
    site = _made("city", lambda: _site(parts, network_json))
    _check(site)
    return site


def _site(tree: dict[str, Any], network_json: str) -> Site:
    if "network_json" in tree:
        raise ConfigurationError("the grid is a document of its own, not a field 'network_json'.")
    resolution = timedelta(seconds=tree.get("plan_resolution", 900.0))
    return _filled(Site, tree, network_json=network_json, plan_resolution=resolution)


def _each(tree: Mapping[str, Any], name: str, make: Callable[[dict[str, Any]], T]) -> tuple[T, ...]:
    found = tree.get(name, [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{name!r} in the description of the city must be a list.")

    def one(number: int, item: dict[str, Any]) -> T:
        return _made(f"{name}[{number}]", lambda: make(item))

    return tuple(one(number, item) for number, item in enumerate(found))


class _UnusableError(ConfigurationError):
    """A part of a description that cannot be used; a part of a part carries the whole path."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} in the description of the city cannot be used: {why}")
        self.what, self.why = what, why


def _made(what: str, make: Callable[[], T]) -> T:
    try:
        made = make()
        _check_types(made)
    except _UnusableError as error:
        raise _unusable(f"{what}.{error.what}", error.why) from error
    except KeyError as error:
        raise _unusable(what, f"{error} is missing.") from error
    except (TypeError, ValueError, AttributeError, OverflowError, VerdigridError) as error:
        raise _unusable(what, str(error)) from error
    return made


def _unusable(what: str, why: str) -> ConfigurationError:
    return _UnusableError(what, why)


def _filled(made: Callable[..., T], tree: dict[str, Any], /, **others: Any) -> T:
    """``made`` out of ``tree``, ``others`` in place of what is there; a stray field is named."""
    known = {field.name: field for field in fields(cast(Any, made))}
    given = {**tree, **others}
    for name in tree:
        if name not in known:
            raise ConfigurationError(f"there is no field {name!r}; it has {', '.join(known)}.")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigurationError(f"{name!r} is missing.")
    return made(**given)


def _asset_kind(tree: dict[str, Any]) -> AssetKind:
    if tree["kind"] not in list(AssetKind):
        raise ConfigurationError(f"there is no kind {tree['kind']!r}; use {', '.join(AssetKind)}.")
    return AssetKind(tree["kind"])


@cache
def _declared(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _check_types(made: Any) -> None:
    """Raises ConfigurationError for a field that does not hold what it is declared to hold."""
    kind: Any = type(made)
    for name, wanted in _declared(kind).items():
        value = getattr(made, name)
        if not _fits(value, wanted):
            raise ConfigurationError(f"{name!r} cannot be {value!r}.")


def _fits(value: object, wanted: Any) -> bool:
    kind, parts = get_origin(wanted), get_args(wanted)
    if kind is UnionType:
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if wanted is float:  # JSON writes 3.0 as 3; and True is no number here
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and isfinite(cast(float, value))
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind or wanted)


def _check(site: Site) -> None:
    """Raises ConfigurationError where the parts of a city do not go together."""
    try:
        zone(site.timezone)
    except TimeError as error:
        raise _unusable("city", str(error)) from error
    if site.plan_resolution <= timedelta(0) or DAY % site.plan_resolution:
        raise _unusable("city", f"steps of {site.plan_resolution} do not divide the day.")
    assets = _unique("assets", [a.id for a in site.assets])
    keys = _unique("series", [s.key for s in site.series])
    _unique("enterprises", [e.id for e in site.enterprises])
    for number, enterprise in enumerate(site.enterprises):
        for missing in set(enterprise.assets) - assets:
            raise _unusable(f"enterprises[{number}]", f"there is no asset {missing!r}.")
    _unique("profiles", [p.name for p in site.profiles])
    _unique("links", [link.device for link in site.links])
    for number, tag in enumerate(site.tags):
        if tag.series_key not in keys:
            raise _unusable(f"tags[{number}]", f"there is no series {tag.series_key!r}.")


def _unique(what: str, names: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise _unusable(f"{what}[{number}]", f"{name!r} is there twice.")
        seen.add(name)
    return seen


def _asset(tree: dict[str, Any]) -> Asset:
    return _filled(Asset, tree, kind=_asset_kind(tree))


def _profile(tree: dict[str, Any]) -> DeviceProfile:
    tags = _each(tree, "tags", _profile_tag)
    lengths: dict[str, float] = {}
    for tag in tags:
        if lengths.setdefault(tag.variable, tag.resolution_s) != tag.resolution_s:
            raise ConfigurationError(
                f"two tags measure {tag.variable!r} over different intervals, which would meet "
                "in one series."
            )
    return _filled(DeviceProfile, tree, kind=_asset_kind(tree), tags=tags)


def _profile_tag(tree: dict[str, Any]) -> ProfileTag:
    made = _filled(ProfileTag, tree)
    linear(made.unit, variable(made.variable).unit)  # a wrong unit stops here, not at a reading
    return made


def _enterprise(tree: dict[str, Any]) -> Enterprise:
    return _filled(Enterprise, tree, assets=tuple(tree["assets"]))


def _series(tree: dict[str, Any]) -> Series:
    seconds = tree.get("resolution")
    resolution = None if seconds is None else timedelta(seconds=seconds)
    kind = SeriesKind(tree.get("kind", SeriesKind.MEASURED))
    return _filled(Series, tree, kind=kind, resolution=resolution)
