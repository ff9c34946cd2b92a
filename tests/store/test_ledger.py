"""The ledger's table: the rules of carbon/journal.py hold against every client."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carbon import journal
from carbon.journal import Entry, Head, Posting
from core.errors import IdempotencyConflictError, LedgerError, StoreError
from store import ledger
from store.database import Connection, Database

HOUR = datetime(2026, 6, 22, tzinfo=UTC)


def entry(key: str, amount: str = "1.25", owner: str = "mill", hour: int = 0) -> Entry:
    """``amount`` kgCO2e of one hour from the grid to the owner."""
    value = Decimal(amount)
    start = HOUR + timedelta(hours=hour)
    return Entry(
        owner=owner,
        kind="scope2.hour",
        idempotency_key=key,
        valid_from=start,
        valid_to=start + timedelta(hours=1),
        memo="a memo, 备注",
        postings=(Posting("grid", "kgCO2e", -value), Posting("scope2", "kgCO2e", value)),
        detail={"factor": "cn_2023", "e_mwh": "0.5"},
    )


def test_what_is_stored_is_what_was_sealed(connection: Connection) -> None:
    posted = ledger.append(connection, [entry("a"), entry("b", "0.250000")])
    assert list(ledger.chain(connection)) == posted
    assert [stored.sequence for stored in posted] == [1, 2]
    assert ledger.head(connection) == posted[-1].head
    assert journal.verify(ledger.chain(connection), expected_head=ledger.head(connection)) == []


def test_an_empty_ledger(connection: Connection) -> None:
    assert ledger.append(connection, []) == []
    assert ledger.head(connection) == Head()
    assert list(ledger.chain(connection)) == []


amounts = st.decimals(
    min_value=-(10**9), max_value=10**9, places=6, allow_nan=False, allow_infinity=False
).filter(bool)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Balanced in each of one or two units, with any text a database can keep."""
    postings: list[Posting] = []
    for unit in draw(st.sampled_from([("kgCO2e",), ("kgCO2e", "MWh")])):
        some = draw(st.lists(amounts, min_size=1, max_size=3))
        if not sum(some):
            some.append(Decimal(1))
        postings += [Posting(f"account {i}", unit, a) for i, a in enumerate(some)]
        postings.append(Posting("rest", unit, -sum(some, Decimal(0))))
    start = HOUR + timedelta(microseconds=draw(st.integers(-(10**15), 10**15)))
    key = f"key {draw(st.integers(0, 5))}"
    owner = draw(st.sampled_from(["mill", "works"]))
    detail = draw(st.dictionaries(texts, texts, max_size=2))
    return Entry(owner, "any", key, start, start, draw(texts), tuple(postings), detail=detail)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(wanted=st.lists(entries(), max_size=6))
def test_any_history_keeps_balance_and_chain(connection: Connection, wanted: list[Entry]) -> None:
    """Posted one by one; a used key with another content is refused and changes nothing."""
    model: dict[tuple[str, str], Entry] = {}
    with connection.transaction(force_rollback=True):
        for one in wanted:
            key = (one.owner, one.idempotency_key)
            if key in model and journal.canonical(model[key]) != journal.canonical(one):
                with pytest.raises(IdempotencyConflictError):
                    ledger.append(connection, [one])
                continue
            model.setdefault(key, one)
            (stored,) = ledger.append(connection, [one])
            assert journal.canonical(stored.entry) == journal.canonical(one)
        chain = list(ledger.chain(connection))
        assert [journal.canonical(s.entry) for s in chain] == [
            journal.canonical(e) for e in model.values()
        ]
        assert journal.verify(chain, expected_head=ledger.head(connection)) == []
        assert ledger.balances(connection) == journal.balances(model.values())
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the database's own check


class TestIdempotency:
    def test_the_same_again_is_the_stored_one(self, connection: Connection) -> None:
        first = ledger.append(connection, [entry("a")])
        again = ledger.append(connection, [entry("a", "1.250"), entry("b"), entry("b")])
        assert again[0] == first[0]
        assert again[1] == again[2]
        assert ledger.head(connection).sequence == 2

    def test_another_content_is_a_conflict(self, connection: Connection) -> None:
        ledger.append(connection, [entry("a")])
        with pytest.raises(IdempotencyConflictError, match=r"'a' already \(entry 1\)"):
            ledger.append(connection, [entry("a", "1.26")])
        assert ledger.head(connection).sequence == 1

    def test_keys_belong_to_their_owner(self, connection: Connection) -> None:
        ledger.append(connection, [entry("a"), entry("a", "9", owner="works")])
        assert ledger.head(connection).sequence == 2

    def test_a_conflict_takes_the_whole_call_back(self, database: Database) -> None:
        with database.connection() as connection:
            ledger.append(connection, [entry("a")])
        with pytest.raises(IdempotencyConflictError), database.connection() as connection:
            ledger.append(connection, [entry("b"), entry("a", "2")])
        with database.connection() as connection:
            assert [s.entry.idempotency_key for s in ledger.chain(connection)] == ["a"]


class TestReversal:
    def test_takes_back_and_leaves_nothing(self, connection: Connection) -> None:
        (stored,) = ledger.append(connection, [entry("a")])
        ledger.append(connection, [journal.reversal(stored, "a/undo", "meter was wrong")])
        assert set(ledger.balances(connection).values()) == {Decimal(0)}
        assert journal.verify(ledger.chain(connection)) == []

    def test_only_once(self, connection: Connection) -> None:
        (stored,) = ledger.append(connection, [entry("a")])
        ledger.append(connection, [journal.reversal(stored, "undo", "")])
        with pytest.raises(LedgerError, match="reverses no entry that still stands"):
            ledger.append(connection, [journal.reversal(stored, "undo again", "")])

    def test_only_once_in_one_call(self, connection: Connection) -> None:
        (stored,) = ledger.append(connection, [entry("a")])
        both = [journal.reversal(stored, key, "") for key in ("undo", "undo again")]
        with pytest.raises(LedgerError, match="reverses no entry that still stands"):
            ledger.append(connection, both)

    def test_of_nothing(self, connection: Connection) -> None:
        with pytest.raises(LedgerError, match="reverses no entry"):
            ledger.append(connection, [replace(entry("a"), reverses="0" * 64)])

    def test_of_another_amount(self, connection: Connection) -> None:
        (stored,) = ledger.append(connection, [entry("a")])
        wrong = replace(entry("undo", "-1"), reverses=stored.hash.hex())
        with pytest.raises(LedgerError, match="undo every posting"):
            ledger.append(connection, [wrong])


def test_four_threads_keep_one_chain(database: Database) -> None:
    """Each also posts keys that the others post: one of them wins, nobody fails."""
    errors: list[BaseException] = []

    def post(thread: int) -> None:
        try:
            for number in range(12):
                with database.connection() as connection:
                    ledger.append(
                        connection,
                        [entry(f"{thread}/{number}", hour=number), entry(f"shared/{number}")],
                    )
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=post, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.connection() as connection:
        chain = list(ledger.chain(connection))
        assert journal.verify(chain, expected_head=ledger.head(connection)) == []
    assert len(chain) == 4 * 12 + 12


def test_longer_than_a_page(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_PAGE", 3)
    posted = ledger.append(connection, [entry(str(i)) for i in range(7)])
    assert list(ledger.chain(connection)) == posted


def test_entries_by_owner_and_valid_time(connection: Connection) -> None:
    ledger.append(connection, [entry(str(h), hour=h) for h in range(3)])
    ledger.append(connection, [entry("x", owner="works", hour=1)])

    def keys(**asked: object) -> list[str]:
        found = ledger.entries(connection, **asked)  # type: ignore[arg-type]
        return [s.entry.idempotency_key for s in found]

    hour = timedelta(hours=1)
    assert keys() == ["x", "2", "1", "0"]
    assert keys(limit=2) == ["x", "2"]
    assert keys(owner="mill", start=HOUR + hour, end=HOUR + 2 * hour) == ["1"]
    assert ledger.balances(connection, "works") == {
        ("works", "grid", "kgCO2e"): Decimal("-1.25"),
        ("works", "scope2", "kgCO2e"): Decimal("1.25"),
    }


class TestOtherClients:
    """Whoever speaks SQL to the table, past this program, meets the same rules."""

    REFUSED = psycopg.errors.IntegrityError

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE ledger_entry SET memo = 'nicer'",
            "DELETE FROM ledger_entry",
            "TRUNCATE ledger_entry CASCADE",
            "UPDATE ledger_posting SET amount = 2 * amount",
            "DELETE FROM ledger_posting",
            "TRUNCATE ledger_posting",
            "DELETE FROM ledger_head",
            "UPDATE ledger_head SET sequence = 0, hash = decode(repeat('00', 32), 'hex')",
            "UPDATE ledger_head SET hash = sha256('other')",
            # a balanced pair, added to an entry that is complete
            "INSERT INTO ledger_posting VALUES (1, 7, 'a', 'MWh', 1), (1, 8, 'b', 'MWh', -1)",
        ],
    )
    def test_nothing_is_changed(self, database: Database, statement: str) -> None:
        with database.connection() as connection:
            posted = ledger.append(connection, [entry("a")])
        with pytest.raises(StoreError) as caught, database.connection() as connection:
            connection.execute(statement)
        assert isinstance(caught.value.__cause__, self.REFUSED)
        with database.connection() as connection:
            assert list(ledger.chain(connection)) == posted

    def insert(self, connection: Connection, sequence: int, previous: bytes = bytes(32)) -> None:
        connection.execute(
            "INSERT INTO ledger_entry VALUES (%s, 'o', 'k', 'any', now(), now(), '', '{}', NULL,"
            " now(), %s, sha256('x'))",
            (sequence, previous),
        )

    @pytest.mark.parametrize(
        ("postings", "message"),
        [
            ("(1, 1, 'a', 'MWh', 1), (1, 2, 'b', 'MWh', -1.1)", "do not sum to 0 in MWh"),
            ("(1, 1, 'a', 'MWh', 1), (1, 2, 'b', 'kgCO2e', -1)", "do not sum to 0"),
            ("(1, 1, 'a', 'MWh', 1.10), (1, 2, 'b', 'MWh', -1.10)", "amount_check"),
            ("(1, 1, 'a', 'MWh', 0), (1, 2, 'b', 'MWh', 0)", "amount_check"),
        ],
    )
    def test_unbalanced_postings(self, database: Database, postings: str, message: str) -> None:
        def post() -> None:
            with database.connection() as connection:
                self.insert(connection, 1)
                connection.execute(f"INSERT INTO ledger_posting VALUES {postings}")
                connection.execute("UPDATE ledger_head SET sequence = 1, hash = sha256('x')")

        with pytest.raises(StoreError, match=message):
            post()

    def test_an_entry_without_postings(self, database: Database) -> None:
        def post() -> None:
            with database.connection() as connection:
                self.insert(connection, 1)

        with pytest.raises(StoreError, match="at least two postings"):
            post()

    @pytest.mark.parametrize(("sequence", "previous"), [(2, bytes(32)), (1, b"x" * 32)])
    def test_an_entry_out_of_the_chain(
        self, database: Database, sequence: int, previous: bytes
    ) -> None:
        with (
            pytest.raises(StoreError, match="does not follow the end"),
            database.connection() as connection,
        ):
            self.insert(connection, sequence, previous)

    def test_an_administrator_who_switches_the_triggers_off_is_found_out(
        self, database: Database
    ) -> None:
        """The owner of the table can: that is what the chain is for."""
        with database.connection() as connection:
            ledger.append(connection, [entry("a"), entry("b")])
        with database.connection() as connection:
            connection.execute("ALTER TABLE ledger_posting DISABLE TRIGGER USER")
            connection.execute("UPDATE ledger_posting SET amount = 4 * sign(amount)")
            findings = journal.verify(ledger.chain(connection))
            assert [finding.ids for finding in findings] == [(1,)]
            connection.execute("DELETE FROM ledger_posting WHERE sequence = 1")
            findings = journal.verify(ledger.chain(connection))
            assert findings[0].ids == (1,)
