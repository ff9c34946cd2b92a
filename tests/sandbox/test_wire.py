"""What the city says is understood: its messages and its history, by the decoders of ingest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.errors import ConfigurationError, DecodeError
from core.sites import Site
from core.timeaxis import from_us, to_us
from core.units import convert
from core.variables import VARIABLES
from ingest.decoded import Decoded
from ingest.draft import Item, draft
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.protocols import chirpstack, parquet_file, senml
from ingest.quality import STANDARD, History
from sandbox import history, wire
from sandbox.citytime import CITY_START
from sandbox.materials import Materials
from sandbox.setpoints import Setpoints
from sandbox.state import Holding
from sandbox.world import Panel, World

QUARTER = np.array([50])
NOON_ENDS = CITY_START + timedelta(hours=12, minutes=45)


@pytest.fixture(scope="module")
def world(source: Materials, site: Site) -> World:
    return World(source, site, seed=1)


@pytest.fixture(scope="module")
def electric(world: World) -> Panel:
    return world.electric(QUARTER, Holding(np.full(114, 0.5)), Setpoints())[0]


@pytest.fixture(scope="module")
def tag_map(site: Site) -> TagMap:
    return TagMap(site.tags, {series.key: i for i, series in enumerate(site.series)})


def packs(site: Site, panel: Panel) -> Iterator[wire.Message]:
    return (wire.senml(site.id, gateway, panel, 0) for gateway in wire.gateways(site, panel))


def decoded(message: wire.Message) -> Decoded:
    decode = senml.decode if message.topic.startswith("senml/") else chirpstack.decode
    return decode(message.topic, message.payload, datetime.now(UTC))


def stored(message: wire.Message, tag_map: TagMap, at: datetime) -> tuple[np.ndarray, str]:
    """The readings of a message that arrives at ``at``, and why some of it cannot be stored."""
    said = decoded(message)
    item = Item(Message(message.topic, message.payload, at), said, tag_map.resolve(said.names))
    whole = draft([item], tag_map.rules.table, STANDARD, History())
    return whole.rows, "; ".join(problem.reason for problem in item.resolved.problems)


def assert_says(
    messages: list[wire.Message], panel: Panel, site: Site, tag_map: TagMap, known: int
) -> None:
    """The messages, decoded and mapped, are the panel in the variables' units, and no more."""
    keys = [series.key for series in site.series]
    wanted = {
        (tag.series_key, int(ts_us)): convert(
            value, tag.unit, VARIABLES[tag.series_key.rsplit("/", 1)[1]].unit
        )
        for ts_us, row in zip(panel.ts_us, panel.values, strict=True)
        for tag, value in zip(panel.tags, row.tolist(), strict=True)
    }
    assert len(wanted) == known
    got = {}
    for message in messages:
        batch, reason = stored(message, tag_map, NOON_ENDS)
        assert reason == ""
        assert not batch["quality"].any()
        for series_id, ts_us, value, _ in batch.tolist():
            got[keys[series_id], ts_us] = value
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert got[key] == pytest.approx(value, abs=1e-9), key


def test_energy_packs_say_the_panel(site: Site, electric: Panel, tag_map: TagMap) -> None:
    messages = list(packs(site, electric))
    assert 10 <= len(messages) <= 20
    plants = 2 * 4 + 2 + (1 + 2 + 2 + 2 + 1)  # power, and what each shows beside it
    assert_says(messages, electric, site, tag_map, 2 * 122 + 123 + 2 * 114 + 2 + plants)


def test_uplinks_say_their_panels(site: Site, world: World, tag_map: TagMap) -> None:
    panels = (
        (world.air(QUARTER), 3 * 12 * 6),
        (world.weather(QUARTER), 4),
        (world.water(QUARTER), 2),
    )
    for panel, known in panels:
        messages = [
            wire.uplink(sensor, panel, row)
            for sensor in wire.sensors(site, panel)
            for row in range(len(panel.ts_us))
        ]
        assert_says(messages, panel, site, tag_map, known)


def test_gateways_have_a_handful_of_devices_and_report_smoothly(
    site: Site, electric: Panel
) -> None:
    gateways = wire.gateways(site, electric)
    devices = [{electric.tags[c].device for c in g.columns} for g in gateways]
    assert all(1 <= len(d) <= wire.DEVICES_PER_GATEWAY for d in devices)
    assert len(set().union(*devices)) == sum(len(d) for d in devices)
    delays = np.array([g.delay_s for g in gateways])
    assert delays.max() < 180.0
    assert np.diff(delays).min() > 5.0


def test_a_pack_is_a_few_kilobytes(site: Site, electric: Panel) -> None:
    assert max(len(message.payload) for message in packs(site, electric)) < 6000


def test_noise_is_what_it_claims_to_be(site: Site, tag_map: TagMap) -> None:
    """Half a message cannot be decoded; the stranger can, and belongs to nobody."""
    for hour in (0, 1):
        start = CITY_START + timedelta(hours=hour)
        half, stranger = wire.noise_of_the_hour(site.id, to_us(start))
        with pytest.raises(DecodeError):
            decoded(half)
        batch, reason = stored(stranger, tag_map, start)
        assert len(batch) == 0
        assert "unknown device" in reason


def test_uplinks_look_like_chirpstack_s(site: Site, world: World) -> None:
    panel = world.weather(QUARTER)
    message = wire.uplink(wire.sensors(site, panel)[0], panel, 0)
    event = json.loads(message.payload)
    info = event["deviceInfo"]
    assert message.topic == (
        f"application/{info['applicationId']}/device/{info['devEui']}/event/up"
    )
    assert event["object"]["interval_s"] == 900
    assert event["time"] == from_us(int(panel.ts_us[0]) + 900_000_000).isoformat()


START = CITY_START - timedelta(days=2)


@pytest.fixture(scope="module")
def past(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("history") / "history.parquet"
    told: list[tuple[int, int]] = []
    rows, _ = history.write(world, START, CITY_START, out, lambda *now: told.append(now))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert rows == pq.read_metadata(out).num_rows
    return out


def test_the_past_is_complete_and_known(past: Path, site: Site, tag_map: TagMap) -> None:
    seen: set[tuple[int, int]] = set()
    for columns in parquet_file.read(past):
        batch, bad = tag_map.map_columns(columns)
        assert not columns.bad
        assert bad == []
        assert not batch["quality"].any()
        seen.update(zip(batch["series_id"].tolist(), batch["ts_us"].tolist(), strict=True))
    wanted = {
        (i, to_us(START) + step * (series.resolution // timedelta(microseconds=1)))
        for i, series in enumerate(site.series)
        if series.resolution is not None
        for step in range(timedelta(days=2) // series.resolution)
    }
    assert seen == wanted


def test_the_past_is_ordered_by_day_and_small(past: Path) -> None:
    table = pq.read_table(past)
    days = table["ts"].cast("int64").to_numpy() // 86_400_000_000
    assert np.all(np.diff(days - days.min()) >= -1)
    assert past.stat().st_size < 5 * table.num_rows
    assert str(table.schema.field("device").type).startswith("dictionary")


def test_the_present_goes_on_where_the_past_ends(world: World, tmp_path: Path) -> None:
    """One history of two days is the same as one day, its state, and the next day lived."""
    middle = CITY_START - timedelta(days=1)
    _, both = history.write(world, START, CITY_START, tmp_path / "a.parquet", lambda *_: None)
    _, half = history.write(world, START, middle, tmp_path / "b.parquet", lambda *_: None)
    assert both.quarter == 0
    assert half.quarter == -96
    _, holding = world.electric(np.arange(-96, 0), half.holding, Setpoints())
    np.testing.assert_array_equal(holding.soc, both.holding.soc)
    assert holding.plants == both.holding.plants


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (CITY_START, CITY_START),
        (CITY_START, CITY_START - timedelta(hours=1)),
        (CITY_START + timedelta(minutes=7), CITY_START + timedelta(hours=1)),
    ],
)
def test_an_impossible_interval_is_refused_and_leaves_nothing(
    world: World, tmp_path: Path, start: datetime, end: datetime
) -> None:
    with pytest.raises(ConfigurationError):
        history.write(world, start, end, tmp_path / "x.parquet", lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        history.write(world, START, CITY_START, blocked / "x.parquet", lambda *_: None)
