"""Too much of one device is kept small, whole and by its name; the others do not notice."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.readings import Rejected
from ingest.messages import Message, pack, unpack
from ingest.overflow import BUNDLE, DeviceQuota, Overflow, Quota, open_bundle

SECOND = 1_000_000
START = 1_782_086_400 * SECOND
SMALL = Quota(readings_per_s=2.0, burst=10.0, entries_per_s=0.5, entries_burst=3.0)


def beyond(quota: DeviceQuota, devices: str, second: float) -> str:
    """``devices``: a letter for each reading; those that are too many come back."""
    numbers = np.array([ord(d) - ord("a") for d in devices], dtype=np.int32)
    mask = quota.beyond(numbers, START + int(second * SECOND))
    return "".join(d for d, too_many in zip(devices, mask, strict=True) if too_many)


def test_a_burst_is_taken_and_then_so_many_a_second():
    quota = DeviceQuota(SMALL)
    assert beyond(quota, "a" * 10 + "b" * 3, 0) == ""
    assert beyond(quota, "aab", 0) == "aa"
    assert beyond(quota, "aaab", 1) == "a"  # two came back
    assert beyond(quota, "a" * 11 + "b" * 11, 100) == "ab"  # never more than the burst


def test_the_first_ones_of_a_batch_are_taken():
    quota = DeviceQuota(SMALL)
    numbers = np.array([0, 1, 0] * 6, dtype=np.int32)
    mask = quota.beyond(numbers, START)
    assert np.flatnonzero(mask).tolist() == [15, 17]  # the eleventh and twelfth of device 0


def test_a_clock_that_goes_back_gives_nothing_twice():
    quota = DeviceQuota(SMALL)
    assert beyond(quota, "a" * 10, 10) == ""
    assert beyond(quota, "a", 0) == "a"
    assert beyond(quota, "a" * 3, 11) == "a"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=1, max_size=40))
def test_no_device_gets_more_than_its_measure(batches):
    quota, second, taken = DeviceQuota(SMALL), 0.0, 0
    for pause, count in batches:
        second += pause
        taken += count - len(beyond(quota, "a" * count, second)) if count else 0
    assert taken <= SMALL.burst + SMALL.readings_per_s * second


def messages(count, received_at, size=30):
    rng = random.Random(3)
    return [
        Message("senml/demo/g", b"%d" % i + rng.randbytes(size), received_at) for i in range(count)
    ]


def rejected(message, source="senml/demo/g"):
    return message, Rejected(source, "broken", message.payload, message.received_at)


def replayed(entries):
    """All payloads, those in bundles too."""
    found = []
    for entry in entries:
        if "bundle" in entry.detail:
            found += [m.payload for m in open_bundle(entry.payload)]
        else:
            found.append(entry.payload)
    return found


def test_poison_is_kept_one_by_one_and_then_in_bundles(received_at):
    overflow = Overflow(SMALL)
    came = messages(2_000, received_at)
    entries = overflow.entries([rejected(m) for m in came], [])
    assert [e.payload for e in entries[:3]] == [m.payload for m in came[:3]]
    assert all(e.detail["bundle"] == BUNDLE for e in entries[3:])
    assert all(len(e.payload) <= 64 * 1024 for e in entries)
    assert len(entries) < 3 + 2_000 / 100
    assert replayed(entries) == [m.payload for m in came]
    assert "broken" in entries[-1].reason
    # Another topic has a measure of its own; this one gets it back with time.
    other = overflow.entries([rejected(came[0], "other")], [])
    assert "bundle" not in other[0].detail
    later = came[0]._replace(received_at=received_at + timedelta(seconds=3))
    assert "bundle" not in overflow.entries([rejected(later)], [])[0].detail


def test_a_flood_is_kept_by_the_name_of_its_device(received_at):
    came = messages(500, received_at)
    entries = Overflow(SMALL).entries([], [("meter\x00", m) for m in came])
    assert {e.source for e in entries} == {"meter\ufffd"}
    assert "more than 2 readings a second" in entries[0].reason
    assert sum(int(e.detail["messages"]) for e in entries) == 500
    back = [m for e in entries for m in open_bundle(e.payload)]
    assert back == came


def test_one_device_fills_so_much_of_the_quarantine_in_an_hour(received_at):
    quota = Quota(bundle_bytes=100_000)
    overflow = Overflow(quota)
    kept, counted = 0, Counter()
    for _ in range(20):
        for entry in overflow.entries([], [("d", m) for m in messages(1_000, received_at)]):
            kept += len(entry.payload)
            counted["bundle" in entry.detail] += int(entry.detail["messages"])
    assert kept <= 100_000 + 64 * 1024
    assert sum(counted.values()) == 20_000
    assert counted[False] > 10_000
    later = [
        m._replace(received_at=received_at + timedelta(hours=1)) for m in messages(3, received_at)
    ]
    (entry,) = overflow.entries([], [("d", m) for m in later])
    assert open_bundle(entry.payload) == later


def test_a_message_that_no_row_can_hold_is_counted(received_at):
    huge = messages(1, received_at, size=200_000)
    (entry,) = Overflow(SMALL).entries([], [("d", m) for m in huge])
    assert (entry.payload, entry.detail) == (b"", {"device": "d", "messages": "1"})


texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)


@given(st.lists(st.tuples(texts, st.binary(max_size=50)), max_size=10))
def test_bundles_come_back_as_they_went(given_):
    at = datetime(2026, 6, 22, 4, 0, 0, 123456, tzinfo=UTC)
    came = [Message(topic, payload, at) for topic, payload in given_]
    assert unpack(pack(came)) == came


@given(st.binary(max_size=200))
def test_anything_is_a_bundle_or_a_decode_error(content):
    for read in (unpack, open_bundle):
        try:
            read(content)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    "head",
    [[["t", 0, -1]], [["t", 0, 9]], [[1, 0, 0]], [["t", 10**30, 0]], [["t", 0]], {"a": 1}, 3],
)
def test_a_bundle_that_does_not_hold_together_is_refused(head):
    with pytest.raises(DecodeError):
        unpack(json.dumps(head).encode() + b"\nabc")
