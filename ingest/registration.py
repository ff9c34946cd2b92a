"""Registration: an unknown device that fits a profile becomes an asset with series and tags.

Nothing here asks a database: two receivers that meet the same device plan the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from core.errors import ConfigurationError
from core.series import Series
from core.sites import Asset, DeviceProfile, ProfileTag, Registration, Route, Tag
from ingest.keep import is_kept, keep_of

_NOT_IN_A_KEY = re.compile(r"[^a-z0-9_.-]+")
_LONGEST_ID = 80


@dataclass(frozen=True, slots=True)
class Registrar:
    """What has to be known of a city to take a device in.

    site, timezone, simulated: as the series of the city have them. Raises ConfigurationError for a
    ``keep`` of no use.
    """

    site: str
    profiles: tuple[DeviceProfile, ...] = ()
    timezone: str = "UTC"
    simulated: bool = False

    def __post_init__(self) -> None:
        for profile in self.profiles:
            keep_of(profile)

    def plan(self, protocol: str, device: str, tags: Iterable[str]) -> Registration | str:
        """What ``device`` becomes that spoke ``protocol`` and named ``tags``; or why nothing.

        The first profile counts that fits and registers by itself.
        """
        fitting = self._fitting(protocol, device)
        if not fitting:
            return (
                f"unknown device {device!r}: no profile of the protocol {protocol} fits it; "
                "`verdigrid ingest register` makes it known"
            )
        chosen = next((p for p in fitting if p.register), None)
        if chosen is None:
            return (
                f"unknown device {device!r}: the profile {fitting[0].name!r} fits it but does not "
                "register by itself; `verdigrid ingest register` makes it known"
            )
        spoken = set(tags)
        if not any(tag.tag in spoken for tag in chosen.tags):
            return f"unknown device {device!r}: it has none of the tags of {chosen.name!r}"
        return self.registration(chosen, device)

    def passes_over(self, protocol: str, device: str, tag: str) -> bool:
        """Whether an unknown ``tag`` is one that nobody wants, by what the device's profile keeps.

        As elsewhere the first profile counts that fits and registers by itself, else the first.
        """
        fitting = self._fitting(protocol, device)
        chosen = next((p for p in fitting if p.register), fitting[0] if fitting else None)
        return chosen is not None and not is_kept(tag, keep_of(chosen))

    def _fitting(self, protocol: str, device: str) -> list[DeviceProfile]:
        return [
            p for p in self.profiles if p.protocol == protocol and fnmatchcase(device, p.pattern)
        ]

    def profile(self, name: str) -> DeviceProfile:
        """The profile of that name; raises ConfigurationError when there is none."""
        for profile in self.profiles:
            if profile.name == name:
                return profile
        known = ", ".join(repr(p.name) for p in self.profiles) or "none"
        raise ConfigurationError(f"There is no profile {name!r}; the city describes {known}.")

    def registration(self, profile: DeviceProfile, device: str) -> Registration:
        """What ``device`` becomes by ``profile``, whether that registers by itself or not."""
        asset = Asset(
            id=asset_id(device),
            kind=profile.kind,
            name_en=device,
            name_zh=device,
            owner=profile.owner,
            parameters=dict(profile.parameters),
            district=profile.district,
        )
        series = {tag.variable: self._series(asset, tag) for tag in profile.tags}
        tags = tuple(Tag(device, t.tag, t.unit, series[t.variable].key) for t in profile.tags)
        return Registration(device, profile.name, asset, tuple(series.values()), tags)

    def _series(self, asset: Asset, tag: ProfileTag) -> Series:
        return Series(
            self.site,
            asset.id,
            tag.variable,
            resolution=timedelta(seconds=tag.resolution_s) if tag.resolution_s else None,
            owner=asset.owner,
            timezone=self.timezone,
            simulated=self.simulated,
        )


@dataclass(frozen=True, slots=True)
class TagState:
    """A tag of a registered device beside the profile it is compared with.

    change: what the profile makes of it; empty where nothing changes.
    """

    device: str
    tag: str
    variable: str
    unit: str
    change: str = ""


def compare(made: Registration, routes: Iterable[Route]) -> list[TagState]:
    """What ``made`` changes for a device whose tags lead along ``routes`` until now.

    First the tags of the profile, then those that it has no more: they stay as they are.
    """
    before = {route.tag: route for route in routes}
    series = {one.key: one for one in made.series}
    states = []
    for tag in made.tags:
        target = series[tag.series_key]
        known = before.pop(tag.tag, None)
        change = "new" if known is None else _change(known, tag, target)
        states.append(TagState(made.device, tag.tag, target.variable, tag.unit, change))
    stays = "stays, though the profile does not have it"
    states += [TagState(made.device, r.tag, r.variable, r.unit, stays) for r in before.values()]
    return states


def _change(known: Route, tag: Tag, target: Series) -> str:
    interval_s = target.resolution.total_seconds() if target.resolution else 0.0
    pairs = (
        ("measured", known.variable, target.variable),
        ("in", known.unit, tag.unit),
        ("over", f"{known.resolution_us / 1e6:g} s", f"{interval_s:g} s"),
    )
    told = [f"{word} {old} before" for word, old, new in pairs if old != new]
    return ", ".join(told)


def asset_id(device: str) -> str:
    """The device's name as a part of a series key; told apart by a digest where letters were lost.

    Names that differ in case only still meet here; the store tells those apart.
    """
    lower = device.lower()
    slug = _NOT_IN_A_KEY.sub("-", lower).strip("-._")[:_LONGEST_ID]
    if slug and slug == lower:
        return slug
    digest = hashlib.sha256(device.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug or 'device'}-{digest[:8]}"
