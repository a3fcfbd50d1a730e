"""P5 for what no hash commits to: a pending transaction needs a quorum to be there, and all to be gone."""

from dataclasses import dataclass

import pytest

from cryptowatch.chains import mempool
from cryptowatch.chains.mempool import MempoolView
from cryptowatch.chains.port import Interest, PendingTransaction


@dataclass(frozen=True)
class Raw:
    """An unconfirmed transaction that pays nobody."""

    tx_hash: bytes

    def contents(self, interest: Interest) -> PendingTransaction | None:
        return None


NOTHING: frozenset[bytes] = frozenset()


def ids(*names: bytes) -> frozenset[bytes]:
    return frozenset(names)


def test_it_counts_once_when_a_quorum_has_it() -> None:
    view = MempoolView(quorum=2)
    alone = view.update({"a": ids(b"t"), "b": NOTHING, "c": NOTHING}, [Raw(b"t")], NOTHING, True)
    both = view.update({"a": ids(b"t"), "b": ids(b"t"), "c": NOTHING}, [], NOTHING, True)
    again = view.update({"a": ids(b"t"), "b": ids(b"t"), "c": ids(b"t")}, [Raw(b"t")], NOTHING, True)
    assert alone.new == []
    assert both.new == [Raw(b"t")]
    assert again.new == []


def test_known_are_those_given_and_those_waiting_so_that_none_is_fetched_twice() -> None:
    view = MempoolView(quorum=2)
    view.update({"a": ids(b"t", b"w"), "b": ids(b"t")}, [Raw(b"t"), Raw(b"w")], NOTHING, True)
    assert view.known == {b"t", b"w"}


def test_it_counts_anew_after_it_was_gone() -> None:
    view = MempoolView(quorum=1)
    view.update({"a": ids(b"t")}, [Raw(b"t")], NOTHING, True)
    view.update({"a": NOTHING}, [], NOTHING, True)
    assert view.known == NOTHING
    assert view.update({"a": ids(b"t")}, [Raw(b"t")], NOTHING, True).new == [Raw(b"t")]


def test_gone_are_tracked_ids_that_no_node_has() -> None:
    view = MempoolView(quorum=2)
    found = view.update({"a": ids(b"t"), "b": NOTHING}, [], ids(b"t", b"u"), True)
    assert found.gone == {b"u"}


@pytest.mark.parametrize(
    ("present", "all_answered"),
    [({"a": NOTHING, "b": NOTHING}, False), ({"a": NOTHING}, True), ({}, True)],
)
def test_nothing_is_gone_while_a_node_is_silent_or_fewer_than_a_quorum_answer(
    present: dict[str, frozenset[bytes]], all_answered: bool
) -> None:
    found = MempoolView(quorum=2).update(present, [], ids(b"t"), all_answered)
    assert found.gone == NOTHING


def test_too_few_answers_forget_nothing() -> None:
    view = MempoolView(quorum=2)
    view.update({"a": ids(b"t"), "b": ids(b"t")}, [Raw(b"t")], NOTHING, True)
    view.update({"a": NOTHING}, [], NOTHING, True)
    assert view.known == {b"t"}


def test_p10_of_those_that_wait_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "WAITING_MAX", 3)
    view = MempoolView(quorum=2)
    many = [bytes([n]) for n in range(5)]
    for n in range(5):
        view.update({"a": ids(*many), "b": NOTHING}, [Raw(many[n])], NOTHING, True)
    assert view.known == set(many[2:])
