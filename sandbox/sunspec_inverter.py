"""A simulated PV plant that speaks SunSpec over Modbus TCP: ``python -m sandbox.sunspec_inverter``.

An inverter with a battery on its DC side, and the meter of its grid connection. It shows the
models 1 (who it is), 103 (AC side), 120 (nameplate), 203 (meter) and 124 (storage) at address
40000. What it says is a function of its seed and the city's time alone: killed and started again,
its counters go on where they would be. Nothing here is measured anywhere.

Registers are written by pysunspec2, which the receiver does not use for reading them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Annotated

import numpy as np
import typer
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from sunspec2.device import Model

from core.clock import CityClock
from core.errors import ServiceError
from core.sites import AssetKind, DeviceProfile, Link, ProfileTag
from core.timeaxis import DAY, parse, utc
from sandbox.citytime import CITY_START
from sandbox.solar import clear_sky_ghi, cos_zenith

BASE = 40_000
DEVICE = "sandbox-sunspec-{unit:02d}"
COUNTER_WH = 1_000_000

_log = logging.getLogger(__name__)

_LAT, _LON = 53.4, 116.8
_RATED_W = 50_000
_CAPACITY_WH = 60_000.0
_BATTERY_W = 12_000.0
_EFFICIENCY = 0.95
_OWN_USE_W = 350.0
_PHASE_V = 230.0
_MINUTES = 24 * 60
_HOUR = 60
_EVENING = 18 * _HOUR
_ROLL_OVER = 2**32
_CLOUD_MINUTES = 20
_OFF_W = 50.0
"""Below this the inverter sleeps."""


@dataclass(frozen=True, slots=True)
class Plant:
    """What is built: one seed is one plant. counter_wh: what its counters showed at CITY_START."""

    seed: int
    counter_wh: int = COUNTER_WH


@dataclass(frozen=True, slots=True)
class PlantDay:
    """A day from midnight of the city, minute by minute, shape (1440,) each.

    ac_w: out of the inverter, positive when producing. charge_w: into the battery, negative when
    discharging. soc: at the end of the minute, 0 to 1. meter_w: positive when importing.
    fault: whether the inverter stands still.
    """

    ac_w: np.ndarray
    charge_w: np.ndarray
    soc: np.ndarray
    meter_w: np.ndarray
    fault: np.ndarray


@dataclass(frozen=True, slots=True)
class Counters:
    """Wh since CITY_START: what the inverter produced, what the meter saw go out and come in."""

    produced: float = 0.0
    exported: float = 0.0
    imported: float = 0.0


def describe(
    port: int, host: str = "127.0.0.1", units: int = 1, interval_s: float = 10.0
) -> tuple[tuple[DeviceProfile, ...], tuple[Link, ...]]:
    """How the plants of a process on ``port`` are described to the city; one link a unit id."""
    profile = DeviceProfile(
        name="sandbox SunSpec plant",
        protocol="sunspec",
        pattern="sandbox-sunspec-*",
        kind=AssetKind.PV,
        register=True,
        tags=(
            ProfileTag("103.W", "p_mw", "W"),
            ProfileTag("103.VAr", "q_mvar", "var"),
            ProfileTag("203.TotWhExp", "e_export_register_mwh", "Wh"),
            ProfileTag("203.TotWhImp", "e_import_register_mwh", "Wh"),
            ProfileTag("124.ChaState", "soc", "%"),
        ),
    )
    links = tuple(
        Link("sunspec", DEVICE.format(unit=unit), host, port, interval_s, {"unit": unit})
        for unit in range(1, units + 1)
    )
    return (profile,), links


@lru_cache(maxsize=4096)
def plant_day(plant: Plant, number: int) -> PlantDay:
    """Day ``number`` since CITY_START of a plant; the battery begins each of them empty."""
    random = np.random.default_rng((plant.seed, number % 2**31, 103))
    start_s = (CITY_START + number * DAY).timestamp()
    sun = clear_sky_ghi(cos_zenith(start_s + 60.0 * np.arange(_MINUTES), _LAT, _LON))
    knots = random.beta(3.0, 1.2, _MINUTES // _CLOUD_MINUTES + 1)
    sky = np.interp(np.arange(_MINUTES), _CLOUD_MINUTES * np.arange(len(knots)), knots)
    fault = np.zeros(_MINUTES, dtype=bool)
    if random.random() < 0.1:
        begin = int(random.integers(10 * _HOUR, 14 * _HOUR))
        fault[begin : begin + 20] = True
    dc_w = np.where(fault, 0.0, np.minimum(sun * sky / 1000.0 * 1.2, 1.0) * _RATED_W)
    charge_w, soc = _battery(dc_w)
    ac_w = np.where(fault, 0.0, np.minimum((dc_w - charge_w) * _EFFICIENCY, _RATED_W))
    return PlantDay(ac_w, charge_w, soc, _OWN_USE_W - ac_w, fault)


def counters(plant: Plant, ts: datetime) -> Counters:
    """What has flowed since CITY_START; nothing before."""
    number, minutes = _minute(ts)
    if number < 0:
        return Counters()
    past = _past(plant, number)
    day = plant_day(plant, number)
    whole = int(minutes)
    weight = np.zeros(_MINUTES)
    weight[:whole] = 1.0
    weight[whole] = minutes - whole
    today = _sums(day, weight)
    return Counters(*(a + b for a, b in zip(past, today, strict=True)))


def registers(plant: Plant, ts: datetime) -> list[int]:
    """The whole register map from BASE on, at a moment of the city's time."""
    number, minutes = _minute(ts)
    day, minute = plant_day(plant, number), int(minutes)
    energy = counters(plant, ts)
    models = (
        _common(plant),
        _inverter(plant, day, minute, energy),
        _nameplate(),
        _meter(plant, day, minute, energy),
        _storage(day, minute),
    )
    data = b"SunS" + b"".join(model.get_mb() for model in models) + b"\xff\xff\x00\x00"
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _minute(ts: datetime) -> tuple[int, float]:
    """The number of the city's day and the minutes since it began."""
    number, rest = divmod(utc(ts) - CITY_START, DAY)
    return number, rest / timedelta(minutes=1)


def _battery(dc_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Charges from the sun until the evening and gives it back then; W and state of charge."""
    day = np.arange(_MINUTES) < _EVENING
    offered = np.where(day, np.minimum(dc_w, _BATTERY_W), 0.0) / _HOUR
    filled = np.minimum(np.cumsum(offered), _CAPACITY_WH)
    drawn = np.cumsum(np.where(day, 0.0, _BATTERY_W / _HOUR))
    stored = np.where(day, filled, np.maximum(filled[-1] - drawn, 0.0))
    charge_w = np.diff(stored, prepend=0.0) * _HOUR
    return charge_w, stored / _CAPACITY_WH


@lru_cache(maxsize=4096)
def _past(plant: Plant, number: int) -> tuple[float, float, float]:
    """Wh of the days before day ``number``, in a loop because a city may be years old."""
    total = np.zeros(3)
    for earlier in range(number):
        total += _day_sums(plant, earlier)
    produced, exported, imported = total.tolist()
    return produced, exported, imported


@lru_cache(maxsize=4096)
def _day_sums(plant: Plant, number: int) -> tuple[float, float, float]:
    return _sums(plant_day(plant, number), np.ones(_MINUTES))


def _sums(day: PlantDay, weight: np.ndarray) -> tuple[float, float, float]:
    """Produced, exported and imported Wh of the minutes, weighted."""
    flows = (day.ac_w, -day.meter_w, day.meter_w)
    produced, exported, imported = (float(np.maximum(w, 0.0) @ weight) / _HOUR for w in flows)
    return produced, exported, imported


def _common(plant: Plant) -> Model:
    model = Model(1)
    model.Mn.value = "Verdigrid"
    model.Md.value = "Simulated PV plant"
    model.Vr.value = "1"
    model.SN.value = f"SIM-{plant.seed:06d}"
    model.DA.value = 1
    return model


def _inverter(plant: Plant, day: PlantDay, minute: int, energy: Counters) -> Model:
    """Phase-to-phase voltages, cabinet temperature and vendor events are not implemented."""
    w, fault = float(day.ac_w[minute]), bool(day.fault[minute])
    model = Model(103)
    _scaled(model, "W_SF", {"W": w})
    _scaled(model, "VA_SF", {"VA": abs(w) / 0.99})
    _scaled(model, "VAr_SF", {"VAr": 0.14 * w})
    _scaled(model, "PF_SF", {"PF": 99.0})
    _scaled(model, "A_SF", {"A": abs(w) / _PHASE_V} | _phases("Aph{}", abs(w) / _PHASE_V / 3.0))
    _voltages(model, minute)
    _scaled(model, "DCW_SF", {"DCW": w / _EFFICIENCY})
    model.WH_SF.value = 0
    model.WH.value = _counter(plant, energy.produced)
    model.Tmp_SF.value = 0
    model.TmpSnk.value = 25 + int(abs(w) / 2_000.0)
    model.St.value = 7 if fault else 4 if abs(w) > _OFF_W else 2
    model.Evt1.value = 1 if fault else 0  # ground fault
    model.Evt2.value = 0
    return model


def _nameplate() -> Model:
    model = Model(120)
    model.DERTyp.value = 82  # PV with storage
    _scaled(model, "WRtg_SF", {"WRtg": float(_RATED_W)})
    return model


def _meter(plant: Plant, day: PlantDay, minute: int, energy: Counters) -> Model:
    """W positive when importing. Reactive and apparent energy are not implemented."""
    w = float(day.meter_w[minute])
    model = Model(203)
    _scaled(model, "W_SF", {"W": w} | _phases("Wph{}", w / 3.0))
    _scaled(model, "A_SF", {"A": w / _PHASE_V} | _phases("Aph{}", w / _PHASE_V / 3.0))
    _voltages(model, minute)
    model.TotWh_SF.value = 0
    model.TotWhExp.value = _counter(plant, energy.exported)
    model.TotWhImp.value = _counter(plant, energy.imported)
    model.Evt.value = 0
    return model


def _storage(day: PlantDay, minute: int) -> Model:
    charge_w, soc = float(day.charge_w[minute]), float(day.soc[minute])
    model = Model(124)
    _scaled(model, "WChaMax_SF", {"WChaMax": _BATTERY_W})
    model.WChaDisChaGra_SF.value = 0
    model.WChaGra.value = model.WDisChaGra.value = 100
    model.StorCtl_Mod.value = 0
    _scaled(model, "ChaState_SF", {"ChaState": 100.0 * soc}, finest=-1)
    model.ChaSt.value = 4 if charge_w > 0 else 3 if charge_w < 0 else 2 if soc == 0 else 6
    return model


def _voltages(model: Model, minute: int) -> None:
    volts = _PHASE_V + 2.0 * float(np.sin(minute / 97.0))
    _scaled(model, "V_SF", _phases("PhVph{}", volts), finest=-1)
    _scaled(model, "Hz_SF", {"Hz": 50.0 + 0.02 * float(np.sin(minute / 31.0))}, finest=-2)


def _phases(name: str, value: float) -> dict[str, float]:
    return {name.format(phase): value for phase in "ABC"}


def _scaled(model: Model, sf: str, values: dict[str, float], finest: int = -2) -> None:
    """Set points that share a scale factor, as fine as the largest of them fits 16 bits."""
    largest = max(abs(value) for value in values.values())
    exponent = finest
    while largest / 10.0**exponent >= 32_000:
        exponent += 1
    getattr(model, sf).value = exponent
    for name, value in values.items():
        getattr(model, name).value = round(value / 10.0**exponent)


def _counter(plant: Plant, flowed_wh: float) -> int:
    return (plant.counter_wh + int(flowed_wh)) % _ROLL_OVER


async def _refresh(
    plant: Plant,
    now: Callable[[], datetime],
    function: int,  # noqa: ARG001
    start: int,  # noqa: ARG001
    address: int,  # noqa: ARG001
    count: int,  # noqa: ARG001
    current: list[int],
    written: object,  # noqa: ARG001
) -> ExcCodes | None:
    """Called before every answer: the registers show the moment at which they are read."""
    current[:] = registers(plant, now())
    return None


async def serve(
    plants: list[Plant],
    now: Callable[[], datetime],
    host: str,
    port: int,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Answer for unit ids 1, 2, ... until cancelled. ready: called with the port it listens on.

    Raises ServiceError when the address cannot be listened on.
    """
    devices = [
        SimDevice(
            id=unit,
            simdata=SimData(
                BASE, values=registers(plant, now()), datatype=DataType.REGISTERS, readonly=True
            ),
            action=partial(_refresh, plant, now),
        )
        for unit, plant in enumerate(plants, start=1)
    ]
    server = ModbusTcpServer(devices, address=(host, port))
    try:
        await server.serve_forever(background=True)
    except RuntimeError as error:
        raise ServiceError(f"{host}:{port} cannot be listened on; choose another port.") from error
    ready(server.transport.sockets[0].getsockname()[1])
    try:
        await server.serving
    finally:
        await server.shutdown()


def main(
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one and logs it.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    origin_wall: Annotated[
        str | None, typer.Option(help="Wall time at which the city shows ...; default now.")
    ] = None,
    origin_city: Annotated[
        str | None, typer.Option(help="... this city time; both ISO 8601 with zone; default now.")
    ] = None,
    pace: Annotated[float, typer.Option(help="City seconds in a second.")] = 1.0,
    seed: Annotated[int, typer.Option(help="One seed is one plant.")] = 1,
    units: Annotated[int, typer.Option(help="Plants, each at a unit id from 1 on.")] = 1,
    counter_wh: Annotated[
        int, typer.Option(help="Energy counters when the sandbox city began; they end at 2^32.")
    ] = COUNTER_WH,
) -> None:
    """Play simulated PV plants with meter and battery that speak SunSpec over Modbus TCP."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    wall = datetime.now(UTC)
    clock = CityClock(
        parse(origin_wall) if origin_wall else wall,
        parse(origin_city) if origin_city else wall,
        pace,
    )
    plants = [Plant(zlib.crc32(f"{seed}/{unit}".encode()), counter_wh) for unit in range(units)]
    asyncio.run(
        serve(
            plants,
            lambda: clock.at(datetime.now(UTC)),
            host,
            port,
            lambda bound: _log.info("listening on %s:%d", host, bound),
        )
    )


if __name__ == "__main__":
    typer.run(main)
