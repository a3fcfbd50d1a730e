"""Named queries: what is loaded, and what is refused at import."""

import pytest

from cryptowatch.db.queries import load_queries, parse_queries

TWO = "-- name: one\n-- The first.\nSELECT 1\n\n-- name: two\n-- The second.\nSELECT 2\n"


def test_queries_are_found_by_name_with_their_purpose() -> None:
    assert parse_queries(TWO, "x.sql") == {
        "one": "-- The first.\nSELECT 1",
        "two": "-- The second.\nSELECT 2",
    }


def test_an_unknown_name_says_which_file_and_what_it_has() -> None:
    with pytest.raises(KeyError, match=r"x\.sql has no query 'three'; it has one, two"):
        parse_queries(TWO, "x.sql")["three"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TWO + "-- name: one\n-- Again.\nSELECT 3\n", "'one' stands there twice"),
        ("-- name: One\n-- Purpose.\nSELECT 1\n", "'One' is not a query name"),
        ("-- name: one\nSELECT 1\n", "needs a one-line purpose"),
        ("-- name: one\n-- Purpose only.\n", "and a statement"),
        ("SELECT 1\n", "no '-- name:' line"),
    ],
)
def test_a_file_that_breaks_the_form_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_queries(text, "x.sql")


def test_the_ledgers_own_files_load() -> None:
    for name in ("ledger.sql", "events.sql", "statement.sql", "verify.sql"):
        assert load_queries("cryptowatch.ledger", name)
