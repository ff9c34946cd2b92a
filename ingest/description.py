"""Whether receivers can work by a city's description: asked before it is saved, not by night.

What one receiver cannot use would stop it, and what stops reading the profiles would stop them all.
"""

from __future__ import annotations

from collections.abc import Collection

from core.errors import ConfigurationError, UnitError
from core.sites import DeviceProfile, Site
from core.units import linear
from core.variables import variable
from ingest import filemapping, modbus_asker, ocpp_server, protocols, sunspec_poller
from ingest.hj212_stations import Stations
from ingest.keep import keep_of


def check(site: Site) -> None:
    """Raises ConfigurationError naming the first profile, tag, link or mapping of no use."""
    spoken = protocols.spoken()
    for profile in site.profiles:
        _check_profile(profile, spoken)
    protocols.find(profiles=site.profiles)
    Stations(site.profiles, site.timezone)
    ocpp_server.check(site.profiles)
    for link in site.links:
        if link.protocol not in modbus_asker.PROTOCOLS:
            raise ConfigurationError(
                f"The link to {link.device!r} names the protocol {link.protocol!r}; devices are "
                f"asked by {' or '.join(modbus_asker.PROTOCOLS)}."
            )
    sunspec_poller.check(sunspec_poller.settings_for(site))
    filemapping.of_site(site.parameters)
    _check_tags(site)


def _check_profile(profile: DeviceProfile, spoken: Collection[str]) -> None:
    if profile.protocol not in spoken:
        raise ConfigurationError(
            f"The device profile {profile.name!r} names the protocol {profile.protocol!r}; there "
            f"are {', '.join(spoken)}."
        )
    keep_of(profile)
    for tag in profile.tags:
        if tag.resolution_s < 0:
            raise ConfigurationError(
                f"The tag {tag.tag!r} of the device profile {profile.name!r} has a resolution_s "
                "below 0; 0 is for instants."
            )


def _check_tags(site: Site) -> None:
    variables = {series.key: variable(series.variable) for series in site.series}
    seen: set[tuple[str, str]] = set()
    for tag in site.tags:
        if (tag.device, tag.tag) in seen:
            raise ConfigurationError(
                f"The tag {tag.tag!r} of the device {tag.device!r} is described twice; leave one."
            )
        seen.add((tag.device, tag.tag))
        try:
            linear(tag.unit, variables[tag.series_key].unit)
        except UnitError as error:
            raise ConfigurationError(
                f"The tag {tag.tag!r} of the device {tag.device!r} cannot be used: {error}"
            ) from error
