"""Flags of arrays are those of a plain loop over readings, whatever the order they come in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.readings import READING_DTYPE, Quality
from ingest.quality import History, range_flags
from ingest.rules import RULE_DTYPE, Ruled, Rules

MINUTE = 60_000_000
HOUR = 60 * MINUTE


def rule(minimum=-math.inf, maximum=math.inf, rate=math.inf, flat=math.inf, resolution=0.0):
    return np.array([(1.0, 0.0, minimum, maximum, rate, flat, resolution)], dtype=RULE_DTYPE)


def each(rules: np.ndarray) -> Ruled:
    """One rule of ``rules`` for each reading."""
    return Ruled(rules, np.arange(len(rules)))


def flagged(history: History, rows, rules: np.ndarray) -> list[Quality]:
    """The flags of ``rows`` (series_id, ts_us, value) that come as one batch."""
    batch = np.array([(s, t, v, 0) for s, t, v in rows], dtype=READING_DTYPE)
    table = rules if len(rules) == len(batch) else np.repeat(rules, len(batch))
    batch["quality"] |= range_flags(batch["value"], each(table))
    batch["quality"] |= history.flags(batch, each(table))
    return [Quality(q) for q in batch["quality"].tolist()]


@dataclass
class Last:
    seen_us: int = 0
    value_us: int = 0
    value: float = 0.0
    since_us: int = 0


def loop(state: dict[int, Last], rows, rules) -> list[Quality]:
    """What History says, one reading after the other."""
    found = []
    for (series_id, ts_us, value, given_), r in zip(rows, rules, strict=True):
        quality = Quality(given_)
        if not r["minimum"] <= value <= r["maximum"]:
            quality |= Quality.OUT_OF_RANGE
        last = state.setdefault(series_id, Last())
        if ts_us > last.seen_us and not quality & Quality.CLOCK_SKEW:
            step = r["resolution_us"]
            if last.seen_us and step and ts_us - last.seen_us > 1.5 * step:
                quality |= Quality.MISSING_NEIGHBOUR
            last.seen_us = ts_us
            if not quality & Quality.OUT_OF_RANGE:
                passed = max(ts_us - last.value_us, MINUTE)
                if last.value_us and abs(value - last.value) > r["rate_per_us"] * passed:
                    quality |= Quality.RATE_OF_CHANGE
                if not last.value_us or value != last.value:
                    last.since_us = ts_us
                if ts_us - last.since_us > r["flat_after_us"]:
                    quality |= Quality.FLAT_LINE
                last.value_us, last.value = ts_us, value
        found.append(quality)
    return found


rows_ = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 12).map(lambda i: i * 7 * MINUTE),
        st.sampled_from([-50.0, 0.0, 1.0, 1.0, 1.0, 2.0, 50.0]),
        st.sampled_from([0, 0, 0, int(Quality.CLOCK_SKEW), int(Quality.LATE)]),
    ),
    max_size=40,
)
RULES = np.concatenate(
    [
        rule(-10, 10, rate=1.0 / (8 * MINUTE), flat=15 * MINUTE, resolution=7 * MINUTE),
        rule(-100, 100, rate=0.5 / (8 * MINUTE), flat=30 * MINUTE, resolution=14 * MINUTE),
        rule(),
        rule(0, 5, flat=1.0),
    ]
)


@given(st.lists(rows_, max_size=5))
def test_arrays_say_what_a_loop_says(batches):
    history, state = History(), {}
    for rows in batches:
        rules = np.array([RULES[s - 1] for s, *_ in rows], dtype=RULE_DTYPE)
        batch = np.array(rows, dtype=READING_DTYPE)
        batch["quality"] |= range_flags(batch["value"], each(rules))
        batch["quality"] |= history.flags(batch, each(rules))
        assert [Quality(q) for q in batch["quality"].tolist()] == loop(state, rows, rules)


@given(rows_, st.data())
def test_how_readings_are_cut_into_batches_does_not_matter(rows, data):
    rules = np.array([RULES[s - 1] for s, *_ in rows], dtype=RULE_DTYPE)
    batch = np.array(rows, dtype=READING_DTYPE)
    batch["quality"] |= range_flags(batch["value"], each(rules))
    whole = History().flags(batch, each(rules))
    cut = data.draw(st.integers(0, len(rows)))
    history = History()
    halves = (slice(None, cut), slice(cut, None))
    parts = [history.flags(batch[half], each(rules[half])) for half in halves]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_jump_is_flagged_and_what_is_out_of_range_is_nothing_to_compare_with():
    """At most 1 in a minute; the spike at 500 is out of range, and the return to 20 is good."""
    limits = rule(0, 100, rate=1.0 / MINUTE)
    values = [20.0, 20.9, 23.0, 500.0, 23.1]
    rows = [(1, (i + 1) * MINUTE, v) for i, v in enumerate(values)]
    good = Quality.GOOD
    expected = [good, good, Quality.RATE_OF_CHANGE, Quality.OUT_OF_RANGE, good]
    assert flagged(History(), rows, limits) == expected


def test_noise_within_a_second_is_no_change():
    limits = rule(rate=1.0 / MINUTE)
    rows = [(1, MINUTE, 1.0), (1, MINUTE + 1_000_000, 1.9), (1, MINUTE + 2_000_000, 2.95)]
    assert flagged(History(), rows, limits) == [0, 0, Quality.RATE_OF_CHANGE]


def test_a_value_that_rests_too_long_is_flat_until_it_moves():
    limits = rule(flat=2 * HOUR)
    rows = [(1, i * HOUR, v) for i, v in enumerate([7.0, 7.0, 7.0, 7.0, 7.0, 7.1], start=1)]
    flat = Quality.FLAT_LINE
    assert flagged(History(), rows, limits) == [0, 0, 0, flat, flat, 0]


def test_a_hole_is_seen_by_the_reading_behind_it():
    every_quarter = rule(resolution=15 * MINUTE)
    times = [15, 30, 45.5, 75, 90, 60]  # the one of 60 comes last
    rows = [(1, int(t * MINUTE), 1.0) for t in times]
    expected = [0, 0, 0, Quality.MISSING_NEIGHBOUR, 0, 0]
    assert flagged(History(), rows, every_quarter) == expected
    instants = rule()
    assert flagged(History(), rows, instants) == [0] * 6


def test_late_readings_and_wrong_clocks_leave_no_trace():
    limits = rule(rate=1.0 / MINUTE, resolution=MINUTE)
    history = History()
    assert flagged(history, [(1, 10 * MINUTE, 5.0)], limits) == [0]
    batch = np.array(
        [(1, 90 * MINUTE, 99.0, Quality.CLOCK_SKEW), (1, 3 * MINUTE, 50.0, Quality.LATE)],
        dtype=READING_DTYPE,
    )
    assert history.flags(batch, each(np.repeat(limits, 2))).tolist() == [0, 0]
    assert flagged(history, [(1, 11 * MINUTE, 5.5)], limits) == [0]


def test_a_restart_goes_on_from_the_latest():
    limits = rule(0, 100, rate=1.0 / MINUTE, flat=5 * MINUTE, resolution=MINUTE)
    latest = np.array(
        [
            (1, 10 * MINUTE, 5.0, 0),
            (2, 10 * MINUTE, 5.0, Quality.FLAT_LINE),
            (3, 10 * MINUTE, 500.0, Quality.OUT_OF_RANGE),
            (4, 99 * MINUTE, 5.0, Quality.CLOCK_SKEW),
        ],
        dtype=READING_DTYPE,
    )
    history = History()
    history.seed(latest)
    rows = [(s, 12 * MINUTE, v) for s, v in [(1, 9.0), (2, 5.0), (3, 20.0), (4, 20.0)]]
    missing = Quality.MISSING_NEIGHBOUR
    assert flagged(history, rows, limits) == [
        missing | Quality.RATE_OF_CHANGE,
        missing | Quality.FLAT_LINE,
        missing,
        0,
    ]


def test_without_neighbours_nothing_is_missing():
    batch = np.array([(1, MINUTE, 1.0, 0), (1, 9 * MINUTE, 1.0, 0)], dtype=READING_DTYPE)
    rules = np.repeat(rule(resolution=MINUTE), 2)
    assert History().flags(batch, each(rules), neighbours=False).tolist() == [0, 0]


def test_rules_carry_what_the_vocabulary_says():
    rules = Rules()
    number = rules.number("temp_air", "K", 900_000_000)
    (row,) = rules.table[[number]]
    assert (row["factor"], row["offset"]) == (pytest.approx(1.0), pytest.approx(-273.15))
    assert row["rate_per_us"] * MINUTE == pytest.approx(3.0)  # WMO: 3 K in a minute
    assert row["flat_after_us"] == 6 * HOUR
    assert row["resolution_us"] == 900_000_000
    in_kw = rules.number("p_mw", "kW", 0)
    power = rules.table[in_kw]
    assert (power["rate_per_us"], power["flat_after_us"]) == (math.inf, math.inf)
    assert rules.number("temp_air", "K", 900_000_000) == number
