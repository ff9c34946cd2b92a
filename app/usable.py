"""Whether plans, books and pages can work by a city's description: asked before it counts.

What receivers need of it is asked by ingest/description.py; they wait for a better one, because
what they cannot read they must not acknowledge.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from app import approval, asked, riskchoice, tariffs
from app.plankinds import DAY_AHEAD
from app.tariffs import number
from carbon import factorset
from core.errors import ConfigurationError, NetworkError
from core.findings import errors
from core.sites import Site
from core.timeaxis import DAY, EPOCH, steps
from grid import der
from grid import network as grid_network
from grid.network import ELEMENTS, Network
from grid.tracking import Tolerance

_ANY_DAY = datetime(2100, 1, 1, tzinfo=UTC)
"""By then every zone with a factor has one."""
_TIMES = ("plan_valid_hours", "plan_late_minutes", "approval_minutes", "acknowledge_minutes")


def check(site: Site) -> None:
    """Raises ConfigurationError or NetworkError naming the first thing of no use.

    What is missing on purpose may be: a city without a grid makes no plans, and one without a
    tariff none that could be priced.
    """
    _check_parameters(site)
    if site.network_json:
        network = grid_network.read(site.network_json)
        grave = errors(grid_network.check(network))
        if grave:
            raise NetworkError(f"The grid cannot be used: {grave[0]}")
        _check_places(site, network)
        _check_types(site)


def _check_parameters(site: Site) -> None:
    given = site.parameters
    tariffs.check(given)
    asked.check(site)
    riskchoice.of_city(given)
    approval.needed(given, DAY_AHEAD)
    Tolerance.of(given)
    for name in _TIMES:
        if name in given:
            number(given, name)
    regions = {str(given["factor_region"])} if "factor_region" in given else set()
    for region in sorted(regions | {e.province for e in site.enterprises}):
        factorset.load().grid_factor(region, _ANY_DAY)


def _check_places(site: Site, network: Network) -> None:
    ids = {table: set(network.ids(table).tolist()) for table in ELEMENTS}
    for asset in site.assets:
        if asset.element in ids and asset.element_index not in ids[asset.element]:
            raise ConfigurationError(
                f"The asset {asset.id!r} stands at the {asset.element} {asset.element_index}, "
                "which the grid does not have."
            )


def _check_types(site: Site) -> None:
    """Each dispatched asset makes an envelope, of a day on which nothing is expected."""
    times = steps(EPOCH, EPOCH + DAY, site.plan_resolution)
    nothing = np.zeros(len(times))
    dt_h = site.plan_resolution.total_seconds() / 3600.0
    kinds = der.found()
    for asset in site.assets:
        if asset.kind in kinds and asset.element in ELEMENTS:
            profiles = dict.fromkeys(("p_mw", *kinds[asset.kind].profiles), nothing)
            der.envelope_of(asset, der.Conditions(times, dt_h, site.timezone, profiles))
