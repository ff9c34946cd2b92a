"""The city's past as one Parquet file, so that forecasts and pages have something to stand on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import ConfigurationError
from sandbox import citytime
from sandbox.energy import START_SOC
from sandbox.setpoints import Setpoints
from sandbox.state import Holding, State
from sandbox.world import Panel, World

SCHEMA = pa.schema(
    [
        ("device", pa.dictionary(pa.int16(), pa.string())),
        ("tag", pa.dictionary(pa.int16(), pa.string())),
        ("unit", pa.dictionary(pa.int16(), pa.string())),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
    ]
)


def write(
    world: World,
    start: datetime,
    end: datetime,
    out: Path,
    progress: Callable[[int, int], None],
) -> tuple[int, State]:
    """Everything metered in [start, end) to the file ``out``, day by day.

    The batteries begin half full and follow their local rule. progress is told the days done
    and the days there are. Returns the number of rows and the state of the city at ``end``, from
    which ``run`` can go on. A file that could not be finished is not left behind.
    Raises ConfigurationError for an empty interval, or an ``out`` that cannot be written.
    """
    quarters = citytime.quarters(start, end)
    days = np.split(
        quarters, np.arange(citytime.STEPS_PER_DAY, len(quarters), citytime.STEPS_PER_DAY)
    )
    holding = Holding(np.full(len(world.energy.batteries), START_SOC))
    rows = 0
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            for done, day in enumerate(days):
                progress(done, len(days))
                electric, holding = world.electric(day, holding, Setpoints())
                panels = (electric, world.air(day), world.weather(day), world.water(day))
                table = pa.concat_tables([_long(panel) for panel in panels])
                rows += table.num_rows
                writer.write_table(table.unify_dictionaries())
        part.replace(out)
    except OSError as error:
        raise ConfigurationError(f"The file {out} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    progress(len(days), len(days))
    return rows, State(int(quarters[-1]) + 1, holding)


def _long(panel: Panel) -> pa.Table:
    """One row a value, ordered by time."""
    moments = len(panel.ts_us)
    tags = panel.tags

    def words(values: list[str]) -> pa.DictionaryArray:
        distinct, code = np.unique(np.array(values), return_inverse=True)
        codes = np.tile(code.astype(np.int16), moments)
        return pa.DictionaryArray.from_arrays(codes, pa.array(distinct.tolist(), pa.string()))

    return pa.table(
        [
            words([tag.device for tag in tags]),
            words([tag.tag for tag in tags]),
            words([tag.unit for tag in tags]),
            pa.array(np.repeat(panel.ts_us, len(tags)), SCHEMA.field("ts").type),
            pa.array(panel.values.ravel()),
        ],
        schema=SCHEMA,
    )
