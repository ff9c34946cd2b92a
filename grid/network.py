"""A network as the rest of Verdigrid sees it: identifiers, limits and places, but no pandapower.

The electrical model is converted once per ``Network`` and kept; a ``Network`` is never changed
after it was read.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType

import numpy as np
import pandapower
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from core.errors import NetworkError
from core.findings import Finding
from grid import checks
from grid.admittance import Admittance, convert
from grid.reasons import first_line

ELEMENTS: Mapping[str, int] = MappingProxyType({"load": -1, "storage": -1, "sgen": 1})
"""Tables of injections, and the sign that makes their power count as fed into the bus."""


_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "bus": "vn_kv in_service",
        "line": "from_bus to_bus length_km r_ohm_per_km x_ohm_per_km c_nf_per_km max_i_ka df "
        "parallel in_service",
        "trafo": "hv_bus lv_bus sn_mva vn_hv_kv vn_lv_kv vk_percent vkr_percent pfe_kw i0_percent "
        "shift_degree df parallel in_service",
        "trafo3w": "hv_bus mv_bus lv_bus sn_hv_mva sn_mv_mva sn_lv_mva vn_hv_kv vn_mv_kv vn_lv_kv "
        "vk_hv_percent vk_mv_percent vk_lv_percent in_service",
        "load": "bus p_mw q_mvar scaling in_service",
        "sgen": "bus p_mw q_mvar scaling in_service",
        "storage": "bus p_mw q_mvar scaling in_service",
        "gen": "bus p_mw vm_pu scaling slack in_service",
        "ext_grid": "bus vm_pu va_degree in_service",
        "switch": "bus element et closed",
        "shunt": "bus p_mw q_mvar in_service",
    }
)
"""What a table that holds anything must say."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network model. ``net`` is pandapower's and stays inside this package and the sandbox."""

    net: pandapowerNet = field(repr=False)
    model: Admittance | None = field(default=None, repr=False)
    """An electrical model to be used instead of the conversion of ``net``: one with an outage."""

    @cached_property
    def buses(self) -> np.ndarray:
        """Identifiers of the buses, in the order of every ``bus`` dimension; so do the others."""
        return np.asarray(self.net.bus.index.to_numpy())

    @cached_property
    def lines(self) -> np.ndarray:
        """Identifiers of the lines."""
        return np.asarray(self.net.line.index.to_numpy())

    @cached_property
    def trafos(self) -> np.ndarray:
        """Identifiers of the two-winding transformers."""
        return np.asarray(self.net.trafo.index.to_numpy())

    @cached_property
    def trafos3w(self) -> np.ndarray:
        """Identifiers of the three-winding transformers."""
        return np.asarray(self.net.trafo3w.index.to_numpy())

    @cached_property
    def loads(self) -> np.ndarray:
        """Identifiers of the loads."""
        return np.asarray(self.net.load.index.to_numpy())

    @cached_property
    def sgens(self) -> np.ndarray:
        """Identifiers of the static generators."""
        return np.asarray(self.net.sgen.index.to_numpy())

    @cached_property
    def storages(self) -> np.ndarray:
        """Identifiers of the storages."""
        return np.asarray(self.net.storage.index.to_numpy())

    def ids(self, table: str) -> np.ndarray:
        """Identifiers of the elements of ``table`` (bus, line, trafo, load, sgen, storage)."""
        return np.asarray(self.net[table].index)

    def bus_position(self, table: str) -> np.ndarray:
        """Position in ``buses`` of the bus of each element of ``table``; shape (element,).

        Raises NetworkError for an element at a bus that does not exist.
        """
        found = np.asarray(self.net.bus.index.get_indexer(self.net[table].bus))
        if (found < 0).any():
            ids = self.net[table].index[found < 0].tolist()
            raise NetworkError(f"The {table} {ids[:5]} stands at a bus that does not exist.")
        return found

    def in_use(self, table: str) -> np.ndarray:
        """Factor by which an element's power counts: its scaling, 0 out of service or unfed.

        table: load, sgen or storage.
        """
        return self._in_use[table]

    @cached_property
    def _in_use(self) -> dict[str, np.ndarray]:
        factors = {}
        for table in ELEMENTS:
            elements = self.net[table]
            node = self.admittance.node_of_bus[self.bus_position(table)]
            on = elements.in_service.to_numpy(dtype=bool) & (node >= 0)
            factors[table] = np.where(on, elements.scaling.to_numpy(dtype=float), 0.0)
            factors[table].flags.writeable = False
        return factors

    def own_value(self, table: str, column: str) -> np.ndarray:
        """What the network file itself says for ``p_mw`` or ``q_mvar``; storages rest at 0."""
        if table == "storage":
            return np.zeros(len(self.net.storage))
        return np.asarray(self.net[table][column], dtype=float)

    @cached_property
    def admittance(self) -> Admittance:
        """The electrical model; raises NetworkError when there is none."""
        return convert(self.net) if self.model is None else self.model

    @cached_property
    def vm_min_pu(self) -> np.ndarray:
        """Lowest allowed voltage per bus; 0 where the file states none."""
        return _limit(self.net.bus, "min_vm_pu", 0.0)

    @cached_property
    def vm_max_pu(self) -> np.ndarray:
        """Highest allowed voltage per bus; infinite where the file states none."""
        return _limit(self.net.bus, "max_vm_pu", np.inf)

    @cached_property
    def line_max_loading_percent(self) -> np.ndarray:
        """Highest allowed loading per line in percent of its rating; 100 where not stated."""
        return _limit(self.net.line, "max_loading_percent", 100.0)

    @cached_property
    def trafo_max_loading_percent(self) -> np.ndarray:
        """Highest allowed loading per transformer in percent; 100 where not stated."""
        return _limit(self.net.trafo, "max_loading_percent", 100.0)

    @cached_property
    def trafo3w_max_loading_percent(self) -> np.ndarray:
        """Highest allowed loading per three-winding transformer in percent; 100 where not stated.

        It counts for the winding that is loaded most, as pandapower's loading does.
        """
        return _limit(self.net.trafo3w, "max_loading_percent", 100.0)

    @cached_property
    def source_buses(self) -> np.ndarray:
        """Whether a bus is held by the upstream grid, shape (bus,); its voltage is given."""
        node = self.admittance.node_of_bus
        return np.isin(node, self.admittance.source_nodes) & (node >= 0)

    @cached_property
    def held_buses(self) -> np.ndarray:
        """Whether the upstream grid or a generator holds a bus's voltage, shape (bus,)."""
        held: np.ndarray = self.source_buses | np.isfinite(self.held_vm_pu)
        return held

    @cached_property
    def held_vm_pu(self) -> np.ndarray:
        """The voltage that generators hold at each bus as long as their reactive power lasts,
        shape (bus,); NaN where none does."""
        model = self.admittance
        at_node = np.full(model.nodes + 1, np.nan)  # the last stands for dead buses
        at_node[model.held_nodes] = model.held_pu
        held: np.ndarray = at_node[model.node_of_bus]
        return held

    def geo(self) -> dict[str, pd.DataFrame]:
        """What a drawing needs: ``buses``, ``lines`` and ``trafos`` as tables.

        buses: name, vn_kv, lon, lat (NaN where the file has no place), indexed by bus.
        lines and trafos: name, from_bus, to_bus, in_service, and closed (no open switch).
        """
        net = self.net
        places = [_point(text) for text in net.bus.get("geo", pd.Series(index=net.bus.index))]
        buses = pd.DataFrame(
            {
                "name": net.bus.name.astype(str),
                "vn_kv": net.bus.vn_kv.astype(float),
                "lon": [p[0] for p in places],
                "lat": [p[1] for p in places],
            },
            index=net.bus.index,
        )
        return {
            "buses": buses,
            "lines": _branches(net, "line", "l", "from_bus", "to_bus"),
            "trafos": _branches(net, "trafo", "t", "hv_bus", "lv_bus"),
        }


def read(network_json: str) -> Network:
    """The network of a pandapower JSON text; raises NetworkError when it cannot be read."""
    if not network_json.strip():
        raise NetworkError("There is no network model: the text is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about dtypes of old files
            net = pandapower.from_json_string(
                _without_empty_tables(network_json), empty_dict_like_object=empty_net()
            )
    except Exception as error:  # a hostile text may raise anything, and the cause is kept
        raise NetworkError(
            f"The network model is not readable as pandapower JSON: {first_line(error)}"
        ) from error
    if not isinstance(net, pandapowerNet):
        raise NetworkError("The network model is JSON, but not a pandapower network.")
    if any(value is net for value in net.values()):  # pandapower fills one net with both
        raise NetworkError("The network model holds another network.")
    return checked_tables(net)


def empty_net() -> pandapowerNet:
    """A pandapower network with all its tables and nothing in them, for the caller alone.

    ``pandapower.create_empty_network`` makes 90 tables column by column, which takes ten times as
    long as copying them.
    """
    return copy.deepcopy(_template())


@cache
def _template() -> pandapowerNet:
    return pandapower.create_empty_network()


def _without_empty_tables(network_json: str) -> str:
    """The same network without the tables in which nothing stands: nine of ten in most files.

    Reading an empty table takes pandas as long as a filled one, and those of ``empty_net`` are
    taken in its place. A text of another shape is left as it is.
    """
    given = json.loads(network_json)
    tables = given.get("_object") if isinstance(given, dict) else None
    if not isinstance(tables, dict):
        return network_json
    filled = {name: table for name, table in tables.items() if not _is_empty_table(table)}
    return json.dumps({**given, "_object": filled})


def _is_empty_table(table: object) -> bool:
    if not isinstance(table, dict) or table.get("_class") != "DataFrame":
        return False
    rows = table.get("_object")
    return isinstance(rows, str) and rows.endswith('"index":[],"data":[]}')


def checked_tables(net: pandapowerNet) -> Network:
    """``net`` as a Network; raises NetworkError when a table every network has is missing."""
    needed = ("bus", "line", "trafo", "load", "sgen", "ext_grid")
    missing = [t for t in needed if not isinstance(net.get(t), pd.DataFrame)]
    if missing or not len(net.bus):
        what = f"the table {missing[0]}" if missing else "any bus"
        raise NetworkError(f"The network model lacks {what}.")
    empty = empty_net()
    for table, none in empty.items():
        if isinstance(none, pd.DataFrame) and not table.startswith(("_", "res_")):
            given = net.get(table)
            if not isinstance(given, pd.DataFrame) or not len(given):
                net[table] = none
    for table, columns in _COLUMNS.items():
        absent = [c for c in columns.split() if c not in net[table].columns]
        if absent and len(net[table]):
            raise NetworkError(f"The table {table} of the network lacks the column {absent[0]}.")
        _typed(net[table], empty[table])
        if "name" not in net[table].columns:
            net[table]["name"] = None
    return Network(net)


def check(network: Network) -> list[Finding]:
    """What is wrong with a network, element by element; empty when it can be calculated.

    Errors stop a calculation or make its numbers meaningless, warnings do not.
    """
    return checks.run(network.net)


def _typed(table: pd.DataFrame, empty: pd.DataFrame) -> None:
    """Gives columns of mixed values the kind they have in pandapower; what is no number is NaN.

    A single odd cell makes a whole column one of objects, which no numerical code takes; as NaN the
    checks can name it.
    """
    for column in table.columns.intersection(empty.columns):
        wanted = empty[column].dtype
        types = pd.api.types
        if not types.is_object_dtype(table[column]) or not types.is_numeric_dtype(wanted):
            continue
        if types.is_bool_dtype(wanted):
            if table[column].isin([True, False]).all():
                table[column] = table[column].astype(bool)
            continue
        values = pd.to_numeric(table[column], errors="coerce")
        whole = np.isfinite(values).all() and (values == np.round(values)).all()
        keeps = types.is_integer_dtype(wanted) and whole
        table[column] = values.astype(np.int64 if keeps else float)


def _limit(table: pd.DataFrame, column: str, default: float) -> np.ndarray:
    if column not in table:
        return np.full(len(table), default)
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    return np.where(np.isnan(values), default, values)


def _branches(net: pandapowerNet, table: str, et: str, start: str, end: str) -> pd.DataFrame:
    elements = net[table]
    opened = set(net.switch.element[(net.switch.et == et) & ~net.switch.closed.astype(bool)])
    return pd.DataFrame(
        {
            "name": elements.name.astype(str).where(elements.name.notna(), ""),
            "from_bus": elements[start].astype(int),
            "to_bus": elements[end].astype(int),
            "in_service": elements.in_service.astype(bool),
            "closed": [i not in opened for i in elements.index],
        },
        index=elements.index,
    )


def _point(text: object) -> tuple[float, float]:
    """Longitude and latitude of a GeoJSON point; NaN for anything else."""
    if isinstance(text, str):
        try:
            lon, lat = json.loads(text)["coordinates"][:2]
            return float(lon), float(lat)
        except (ValueError, KeyError, TypeError):
            return float("nan"), float("nan")
    return float("nan"), float("nan")
