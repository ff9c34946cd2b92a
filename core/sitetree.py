"""A city's description as plain JSON values and back: how it is stored and how it is handed in.

The network stays outside of the tree: it is a document of its own, in pandapower's format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

from core.errors import ConfigurationError, VerdigridError
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, Enterprise, Site, Tag

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
    parts["tags"] = _each(parts, "tags", lambda t: Tag(**t))
    seconds = parts.pop("plan_resolution", 900.0)
    return _made(
        "city",
        lambda: Site(
            **parts, network_json=network_json, plan_resolution=timedelta(seconds=seconds)
        ),
    )


def _each(tree: Mapping[str, Any], name: str, make: Callable[[dict[str, Any]], T]) -> tuple[T, ...]:
    found = tree.get(name, [])
    if not isinstance(found, list):
        raise ConfigurationError(f"{name!r} in the description of the city must be a list.")

    def one(number: int, item: dict[str, Any]) -> T:
        return _made(f"{name}[{number}]", lambda: make(item))

    return tuple(one(number, item) for number, item in enumerate(found))


def _made(what: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except (TypeError, KeyError, ValueError, AttributeError, VerdigridError) as error:
        raise ConfigurationError(
            f"{what} in the description of the city cannot be used: {error}"
        ) from error


def _asset(tree: dict[str, Any]) -> Asset:
    return Asset(**tree | {"kind": AssetKind(tree["kind"])})


def _enterprise(tree: dict[str, Any]) -> Enterprise:
    return Enterprise(**tree | {"assets": tuple(tree["assets"])})


def _series(tree: dict[str, Any]) -> Series:
    seconds = tree.get("resolution")
    resolution = None if seconds is None else timedelta(seconds=seconds)
    kind = SeriesKind(tree.get("kind", SeriesKind.MEASURED))
    return Series(**tree | {"kind": kind, "resolution": resolution})
