"""Named queries: what is loaded, and what is refused at import."""

import re
from pathlib import Path

import asyncpg
import pytest

import cryptowatch
from cryptowatch.db.pool import Pool, connection
from cryptowatch.db.queries import load_queries, parse_queries

TEMPORARY = re.compile(r"CREATE TEMP(?:ORARY)? TABLE (\w+)")
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


async def test_every_query_fits_the_schema_and_a_new_connection_knows_its_types(
    pool: Pool, database: str
) -> None:
    """A type that a connection has to look up makes whoever comes first to it wait for 5 ms."""
    package = Path(cryptowatch.__file__).parent
    asked = list[str]()
    async with connection(pool) as conn:
        conn.add_query_logger(lambda seen: asked.append(seen.query))
        for path in sorted(package.rglob("*.sql")):
            if path.parent.name == "migrations":
                continue
            name = ".".join(("cryptowatch", *path.parent.relative_to(package).parts))
            for query in load_queries(name, path.name).values():
                # Tables that live for one transaction only.
                if not any(table in query for table in TEMPORARY.findall(path.read_text())):
                    await conn.prepare(query)
    assert not any("typeinfo" in query for query in asked)
    bare = await asyncpg.connect(database)
    bare.add_query_logger(lambda seen: asked.append(seen.query))
    await bare.prepare("SELECT NULL::bigint[]")
    await bare.close()
    assert any("typeinfo" in query for query in asked)
