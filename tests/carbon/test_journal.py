"""The ledger's rules: what may be posted, one spelling per entry, and a chain nobody can edit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.journal import (
    GENESIS,
    Entry,
    Head,
    Posting,
    StoredEntry,
    balances,
    canonical,
    chain_hash,
    check,
    check_reversal,
    decimal_text,
    record,
    reversal,
    seal,
    verify,
)
from core.errors import LedgerError

HOUR = datetime(2026, 6, 22, 4, tzinfo=UTC)
RECORDED = datetime(2026, 6, 22, 5, 1, 2, 345678, tzinfo=UTC)

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
names = words.map(str.strip).filter(bool)
amounts = (
    st.decimals(-(10**12), 10**12, places=9, allow_nan=False).map(Decimal).filter(lambda d: d != 0)
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    amount, start = draw(amounts), draw(instants)
    unit = draw(st.sampled_from(["kgCO2", "CEA24", "GEC"]))
    return Entry(
        owner=draw(names),
        kind=draw(names),
        idempotency_key=draw(names),
        valid_from=start,
        valid_to=start + timedelta(hours=1),
        memo=draw(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)),
        postings=(
            Posting(draw(names), unit, amount),
            Posting(draw(names), unit, amount.copy_negate()),
        ),
        detail=draw(st.dictionaries(names, names, max_size=3)),
    )


def simple(key: str = "k1", amount: str = "0.25", **changes: object) -> Entry:
    value = Decimal(amount)
    entry = Entry(
        owner="mill",
        kind="scope2.hour",
        idempotency_key=key,
        valid_from=HOUR,
        valid_to=HOUR + timedelta(hours=1),
        memo="一小时",
        postings=(
            Posting("scope2.location.national", "kgCO2", value),
            Posting("emissions.issued", "kgCO2", value.copy_negate()),
        ),
        detail={"factor_value": "0.5306"},
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def chain(entries_to_post: list[Entry]) -> list[StoredEntry]:
    stored: list[StoredEntry] = []
    head = Head()
    for number, entry in enumerate(entries_to_post):
        stored.append(seal(head, entry, RECORDED + timedelta(minutes=number)))
        head = stored[-1].head
    return stored


def test_canonical_bytes_are_the_published_ones():
    assert (
        canonical(simple())
        == (
            '{"detail":{"factor_value":"0.5306"},"idempotency_key":"k1","kind":"scope2.hour",'
            '"memo":"一小时","owner":"mill","postings":['
            '{"account":"scope2.location.national","amount":"0.25","unit":"kgCO2"},'
            '{"account":"emissions.issued","amount":"-0.25","unit":"kgCO2"}],"reverses":null,'
            '"valid_from":"2026-06-22T04:00:00.000000Z","valid_to":"2026-06-22T05:00:00.000000Z"}'
        ).encode()
    )


def test_the_hash_can_be_computed_by_hand():
    stored = seal(Head(), simple(), RECORDED)
    text = (
        b'{"entry":'
        + canonical(simple())
        + b',"recorded_at":"2026-06-22T05:01:02.345678Z","sequence":"1"}'
    )
    assert record(1, RECORDED, simple()) == text
    assert stored.hash == hashlib.sha256(b"verdigrid.ledger.v1\x00" + bytes(32) + text).digest()


def test_keys_are_ordered_as_rfc_8785_says_by_utf16_units():
    # RFC 8785 section 3.2.3: U+1F600 is D83D DE00 in UTF-16 and stands before U+FB33.
    ordered = canonical(simple(detail={"\ufb33": "dalet", "\U0001f600": "smile", "\r": "cr"}))
    assert ordered.startswith('{"detail":{"\\r":"cr","\U0001f600":"smile","\ufb33"'.encode())


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ("0.250000", "0.25"),
        ("25E-2", "0.25"),
        ("1E+3", "1000"),
        ("-0.0", "0"),
        ("100", "100"),
        ("-1.10", "-1.1"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
    ],
)
def test_a_decimal_has_one_spelling(spelled: str, text: str):
    assert decimal_text(Decimal(spelled)) == text


@pytest.mark.parametrize("spelled", ["NaN", "Infinity", "1E+999999", "1E+20", "1E-13", "1E-999999"])
def test_numbers_that_cannot_be_kept_exactly_are_refused(spelled: str):
    with pytest.raises(LedgerError):
        decimal_text(Decimal(spelled))


@given(entries(), st.integers(0, 6), st.integers(-12, 14))
def test_spelling_of_decimals_and_of_zones_does_not_change_the_hash(
    entry: Entry, zeros: int, offset: int
):
    zone = timezone(timedelta(hours=offset))
    respelled = replace(
        entry,
        valid_from=entry.valid_from.astimezone(zone),
        valid_to=entry.valid_to.astimezone(zone),
        postings=tuple(
            replace(p, amount=Decimal(f"{p.amount:f}" + "0" * zeros)) for p in entry.postings
        ),
    )
    assert canonical(respelled) == canonical(entry)
    assert seal(Head(), respelled, RECORDED).hash == seal(Head(), entry, RECORDED).hash


@given(entries(), entries())
def test_canonical_is_injective(one: Entry, other: Entry):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(entries(), st.data())
def test_a_change_anywhere_changes_the_canonical_bytes(entry: Entry, data: st.DataObject):
    changed = data.draw(st.sampled_from(MUTATIONS))(entry)
    assert canonical(changed) != canonical(entry)


def _other_amount(entry: Entry) -> Entry:
    first = entry.postings[0]
    amount = first.amount + Decimal("0.000000001")
    return replace(entry, postings=(replace(first, amount=amount), *entry.postings[1:]))


def _both_amounts(entry: Entry) -> Entry:
    postings = tuple(replace(p, amount=p.amount * 2) for p in entry.postings)
    return replace(entry, postings=postings)


MUTATIONS: list[Callable[[Entry], Entry]] = [
    _other_amount,
    _both_amounts,
    lambda e: replace(e, owner=e.owner + "x"),
    lambda e: replace(e, kind=e.kind + "x"),
    lambda e: replace(e, idempotency_key=e.idempotency_key + "x"),
    lambda e: replace(e, memo=e.memo + " "),
    lambda e: replace(e, valid_from=e.valid_from - timedelta(microseconds=1)),
    lambda e: replace(e, valid_to=e.valid_to + timedelta(microseconds=1)),
    lambda e: replace(e, reverses="00" * 32),
    lambda e: replace(e, detail={**e.detail, "new": "one"}),
    lambda e: replace(e, postings=e.postings[::-1]) if e.postings[0] != e.postings[1] else e,
    lambda e: replace(e, postings=(replace(e.postings[0], account="?"), *e.postings[1:])),
]


@given(st.lists(entries(), min_size=2, max_size=6), st.data())
def test_any_edit_of_any_stored_entry_is_found_and_named(posted: list[Entry], data: st.DataObject):
    stored = chain(posted)
    assert verify(stored) == []
    place = data.draw(st.integers(0, len(stored) - 1))
    victim = stored[place]
    edit = data.draw(
        st.sampled_from(
            [
                *[lambda s, m=m: replace(s, entry=m(s.entry)) for m in MUTATIONS],
                lambda s: replace(s, recorded_at=s.recorded_at + timedelta(microseconds=1)),
                lambda s: replace(s, hash=bytes([s.hash[0] ^ 1]) + s.hash[1:]),
                lambda s: replace(s, previous=bytes([s.previous[0] ^ 1]) + s.previous[1:]),
                lambda s: replace(s, sequence=s.sequence + 1),
            ]
        )
    )
    findings = verify([*stored[:place], edit(victim), *stored[place + 1 :]])
    assert findings
    # An altered hash is seen at its own entry; a shifted sequence is named as it is stored.
    assert findings[0].ids == (edit(victim).sequence,)


@given(st.lists(entries(), min_size=2, max_size=6), st.data())
def test_removed_inserted_and_swapped_entries_are_found(posted: list[Entry], data: st.DataObject):
    stored = chain(posted)
    place = data.draw(st.integers(0, len(stored) - 2))
    assert verify(stored[:place] + stored[place + 1 :])
    assert verify([*stored[: place + 1], stored[place], *stored[place + 1 :]])
    assert verify([*stored[:place], stored[place + 1], stored[place], *stored[place + 2 :]])


def test_a_tail_cut_off_is_found_only_against_a_noted_head():
    stored = chain([simple("a"), simple("b"), simple("c")])
    assert verify(stored[:2]) == []  # nothing inside the chain can tell
    (finding,) = verify(stored[:2], expected_head=stored[2].head)
    assert finding.ids == (3,)
    assert verify(stored, expected_head=stored[1].head) == []
    assert verify([], expected_head=Head()) == []


def test_a_chain_written_anew_is_found_against_a_noted_head():
    noted = chain([simple("a"), simple("b")])[-1].head
    rewritten = chain([simple("a", "0.01"), simple("b")])
    assert verify(rewritten) == []
    (finding,) = verify(rewritten, expected_head=noted)
    assert finding.ids == (2,)


def test_an_unbalanced_entry_is_found_even_with_a_fitting_hash():
    crooked = simple(
        postings=(Posting("a", "kgCO2", Decimal(1)), Posting("b", "kgCO2", Decimal("-0.9")))
    )
    forged = StoredEntry(
        1, crooked, RECORDED, GENESIS, chain_hash(GENESIS, record(1, RECORDED, crooked))
    )
    (finding,) = verify([forged])
    assert "sum to 0.1" in finding.message


@given(entries())
def test_an_entry_and_its_reversal_leave_nothing(entry: Entry):
    first = seal(Head(), entry, RECORDED)
    back = reversal(first, "back", "wrong meter")
    second = seal(first.head, back, RECORDED)
    assert check_reversal(back, entry) == []
    assert set(balances([entry, back]).values()) == {Decimal(0)}
    assert verify([first, second]) == []


def test_an_entry_is_reversed_once_fully_and_never_back_again():
    first = seal(Head(), simple(), RECORDED)
    back = reversal(first, "back", "")
    second = seal(first.head, back, RECORDED)
    with pytest.raises(LedgerError, match="itself a reversal"):
        reversal(second, "again", "")
    twice = seal(second.head, replace(back, idempotency_key="twice"), RECORDED)
    assert verify([first, second, twice])[0].ids == (3,)
    partly = replace(back, postings=tuple(replace(p, amount=p.amount / 2) for p in back.postings))
    assert check_reversal(partly, simple())
    assert verify([first, seal(first.head, partly, RECORDED)])[0].ids == (2,)
    stray = replace(back, reverses="ab" * 32)
    assert verify([first, seal(first.head, stray, RECORDED)])[0].ids == (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"postings": ()}, "at least two"),
        ({"postings": (Posting("a", "kg", Decimal(1)),)}, "at least two"),
        (
            {"postings": (Posting("a", "kg", Decimal(1)), Posting("b", "t", Decimal(-1)))},
            "in kg sum to 1",
        ),
        ({"postings": (Posting("a", "kg", Decimal(0)), Posting("b", "kg", Decimal(0)))}, "nothing"),
        ({"postings": (Posting("a", "kg", Decimal("NaN")),) * 2}, "no finite"),
        ({"postings": (Posting("", "kg", Decimal(1)), Posting("b", "kg", Decimal(-1)))}, "empty"),
        ({"valid_from": HOUR.replace(tzinfo=None)}, "no zone"),
        ({"valid_to": HOUR - timedelta(hours=1)}, "ends before"),
        ({"owner": " mill"}, "owner"),
        ({"memo": "a\x00b"}, "zero byte"),
        ({"memo": "\ud800"}, "Unicode"),
        ({"reverses": "XY"}, "hex"),
        ({"detail": {"factor_value": 0.5306}}, "must be a text"),
    ],
)
def test_what_breaks_a_rule_is_named_and_not_sealed(changes: dict, message: str):
    entry = simple(**changes)
    assert any(message in finding.message for finding in check(entry))
    with pytest.raises(LedgerError, match="cannot be posted"):
        seal(Head(), entry, RECORDED)


def test_sums_stay_exact_beyond_the_usual_28_digits():
    big, small = Decimal("99999999999999999999"), Decimal("0.000000000001")
    postings = (
        Posting("a", "kg", big),
        Posting("b", "kg", small),
        Posting("c", "kg", -(Decimal("99999999999999999999"))),
        Posting("d", "kg", -small),
    )
    assert check(simple(postings=postings)) == []
    off = (*postings[:3], Posting("d", "kg", Decimal("-0.000000000002")))
    assert "sum to -0.000000000001" in check(simple(postings=off))[0].message
    held = balances([simple(postings=(*postings[:2], Posting("a", "kg", small)))])
    assert held["mill", "a", "kg"] == Decimal("99999999999999999999.000000000001")


def test_an_entry_does_not_follow_changes_of_what_it_was_made_from():
    detail = {"factor_value": "0.5306"}
    entry = simple(detail=detail)
    detail["factor_value"] = "0.1"
    assert entry.detail["factor_value"] == "0.5306"
    with pytest.raises(TypeError):
        entry.detail["factor_value"] = "0.1"  # type: ignore[index]
