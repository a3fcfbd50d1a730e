"""Moving money: postings, alone or in batches, each exactly once (P1, P2).

Called by every feature, inside its own transaction or on a connection without one (a call is one statement, so it is
atomic by itself). The effects live in `ledger_post_one`, `ledger_post` and `ledger_post_alike` (0001-ledger.sql).

    post        one posting; a refusal is a value
    post_each   a batch; each posting stands for itself, refusals are values
    post_all    a batch; all or nothing, a refusal raises and undoes the transaction; the fastest way for many
    Batch       the same, put together in parts

An answer is never guessed: after DatabaseUnavailable, post the same keys again and see `exists` or `created`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from cryptowatch.db import arrays
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import ConcurrentUpdate, CryptowatchError
from cryptowatch.ledger.rules import DONE, Balance, Posting, Status

SQL = load_queries(__package__, "ledger.sql")

#: 0001-ledger.sql: a posting that cannot be right whatever the balances are; a refusal in `post_all`.
_MISUSE = "LE002"
_REFUSED = "LE003"


_STATUSES = {status.value: status for status in Status}


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to one posting. `balance` is the customer's after it (for `exists`: after it back then; for
    a refusal: as it stands), None for house transfers."""

    status: Status
    balance: Balance | None

    @property
    def done(self) -> bool:
        """Whether the posting is in the ledger, now or since before."""
        return self.status in DONE


class PostingRefused(CryptowatchError):
    """One posting of an all-or-nothing batch was refused; the transaction can only be rolled back."""

    def __init__(self, posting: Posting, status: Status) -> None:
        super().__init__(f"posting {posting.key}: {status}")
        self.posting = posting
        self.status = status


class PostingMisuse(CryptowatchError):
    """Accounts, kind or the posting to resolve do not fit each other: a mistake in the program."""


async def post(connection: Connection, posting: Posting, created_at: datetime) -> Posted:
    """Make one posting, idempotent by its key; `created_at` is kept from the first time.

    Raises PostingMisuse, and ConcurrentUpdate when the transaction should run anew.
    """
    try:
        row = await connection.fetchrow(
            SQL["post_one"],
            posting.key,
            posting.kind,
            posting.customer,
            posting.from_account,
            posting.to_account,
            posting.amount_base_units,
            posting.resolves,
            posting.reference,
            created_at,
        )
    except asyncpg.PostgresError as error:
        raise named(error, [posting]) from error
    assert row is not None
    return _posted(row)


async def post_each(
    connection: Connection, postings: Sequence[Posting], created_at: datetime
) -> list[Posted]:
    """Make a batch of any size in one round trip; answers in order, as if posted one after the other.

    Refused postings leave the others standing. Raises as `post` does.
    """
    if not postings:
        return []
    try:
        rows = await connection.fetch(
            SQL["post_batch"], *_columns(postings), created_at, _has_repeats(postings)
        )
    except asyncpg.PostgresError as error:
        raise named(error, postings) from error
    return [_posted(row) for row in rows]


async def post_all(connection: Connection, postings: Sequence[Posting], created_at: datetime) -> None:
    """Make a batch of any size in one round trip, all of it or nothing: afterwards it is in the ledger.

    Raises PostingRefused for the first posting that cannot be made: the caller's transaction is then lost,
    so nothing that it did beside the postings stays either. Raises as `post` does.
    """
    batch = Batch()
    batch.add(postings)
    await batch.post(connection, created_at)


class Batch:
    """`post_all` in steps, so that a full block's postings are put together while Postgres writes its deposits."""

    def __init__(self) -> None:
        self._postings: list[Posting] = []
        #: Of postings that are alike so far: keys, customers and amounts, and the one house account.
        self._alike = True
        self._house: int | None = None
        self._keys: list[str] = []
        self._customers: list[str] = []
        self._amounts: list[str] = []

    def add(self, postings: Sequence[Posting]) -> None:
        """The next ones, in order."""
        if self._alike and postings:
            first = (self._postings or postings)[0]
            self._house = _other_side(first)
            self._alike = _are_alike(postings, first, self._house)
            self._keys += [posting.key for posting in postings]
            self._customers += [str(posting.customer) for posting in postings]
            self._amounts += [str(posting.amount_base_units) for posting in postings]
        self._postings += postings

    async def post(self, connection: Connection, created_at: datetime) -> None:
        """Once. Raises as `post_all` does."""
        postings = self._postings
        if not postings:
            return
        # In whatever order, those of customers of their own do the same.
        apart = len(set(self._customers)) == len(set(self._keys)) == len(postings)
        try:
            if self._alike and apart:
                await connection.execute(
                    SQL["post_alike"],
                    postings[0].kind,
                    self._house,
                    arrays.texts(self._keys),
                    arrays.numbers(self._customers),
                    arrays.numbers(self._amounts),
                    created_at,
                )
            else:
                repeats = _has_repeats(postings)
                await connection.execute(SQL["post_all"], *_columns(postings), created_at, repeats)
        except asyncpg.PostgresError as error:
            raise named(error, postings) from error


def _columns(postings: Sequence[Posting]) -> tuple[list[Any], ...]:
    return (
        [posting.key for posting in postings],
        [posting.kind for posting in postings],
        [posting.customer for posting in postings],
        [posting.from_account for posting in postings],
        [posting.to_account for posting in postings],
        [posting.amount_base_units for posting in postings],
        [posting.resolves for posting in postings],
        [posting.reference for posting in postings],
    )


def _has_repeats(postings: Sequence[Posting]) -> bool:
    """A key twice, or one posting resolved twice: then the order within the batch decides."""
    resolved = [posting.resolves for posting in postings if posting.resolves is not None]
    return len({posting.key for posting in postings}) < len(postings) or len(set(resolved)) < len(resolved)


def _other_side(posting: Posting) -> int | None:
    """The account with which the customer's exchanges value."""
    return posting.from_account if posting.to_account == posting.customer else posting.to_account


def _are_alike(postings: Sequence[Posting], first: Posting, house: int | None) -> bool:
    """Whether these move money of a customer's in the same way as the first does."""
    into = first.to_account == first.customer
    return first.customer is not None and all(
        p.kind is first.kind
        and p.resolves is p.reference is None
        and p.customer == (p.to_account if into else p.from_account)
        and house == (p.from_account if into else p.to_account)
        for p in postings
    )


def _posted(row: Any) -> Posted:
    status, total, unfinalized, held = row
    return Posted(_STATUSES[status], None if total is None else Balance(total, unfinalized, held))


def named(error: asyncpg.PostgresError, postings: Sequence[Posting] = ()) -> Exception:
    """What an error of the ledger's functions means; itself when it is none of theirs."""
    if error.sqlstate == _REFUSED:
        index, status = str(getattr(error, "detail", "")).split(" ")
        return PostingRefused(postings[int(index)], Status(status))
    if error.sqlstate == _MISUSE:
        return PostingMisuse(str(error))
    if isinstance(error, asyncpg.UniqueViolationError):
        # Another transaction took one of the keys between our look and our insert, for another account.
        return ConcurrentUpdate(str(error))
    return error
