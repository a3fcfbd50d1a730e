"""P5: when a node is put aside, when its voice counts, and when it is relied on again."""

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.port import NodeState
from cryptowatch.chains.standing import CONTRADICTIONS_MAX, FAILURES_MAX, ChangeKind, Standing

QUARANTINE_S = 60.0


def fresh() -> Standing:
    return Standing("n", lag_blocks_max=3, quarantine_s=QUARANTINE_S)


def state_of(standing: Standing) -> NodeState:
    return standing.state


def agree(standing: Standing, now_s: float) -> None:
    standing.note_agreement(True, 100, now_s, at_head=True)


def contradict(standing: Standing, now_s: float = 0.0, times: int = CONTRADICTIONS_MAX) -> None:
    for _ in range(times):
        standing.note_agreement(False, 100, now_s, at_head=True)


def kinds(standing: Standing) -> list[ChangeKind]:
    """Of what was not told yet, and is from here on."""
    changes = standing.changes()
    for change in changes:
        standing.told(change)
    return [change.kind for change in changes]


def test_a_lie_quarantines_at_once_and_takes_the_voice_for_the_term() -> None:
    standing = fresh()
    standing.note_lie("block does not hash", 0.0)
    assert state_of(standing) is NodeState.QUARANTINED
    assert standing.problem == "block does not hash"
    assert not standing.has_voice(QUARANTINE_S - 1)
    assert standing.has_voice(QUARANTINE_S)
    assert kinds(standing) == [ChangeKind.QUARANTINED]


def test_a_liar_recovers_when_its_term_is_over_and_it_agrees_and_not_before() -> None:
    standing = fresh()
    standing.note_lie("lie", 0.0)
    agree(standing, QUARANTINE_S - 1)
    assert state_of(standing) is NodeState.QUARANTINED
    standing.note_answer(0.1)
    assert state_of(standing) is NodeState.QUARANTINED
    agree(standing, QUARANTINE_S)
    assert state_of(standing) is NodeState.HEALTHY
    assert kinds(standing) == [ChangeKind.QUARANTINED, ChangeKind.RECOVERED]


def test_agreeing_below_the_head_is_not_enough_to_recover() -> None:
    standing = fresh()
    standing.note_lie("lie", 0.0)
    standing.note_agreement(True, 90, QUARANTINE_S, at_head=False)
    assert state_of(standing) is NodeState.QUARANTINED


def test_each_further_lie_doubles_the_term_up_to_a_bound() -> None:
    standing = fresh()
    now_s = 0.0
    for factor in (1, 2, 4, 8, 16, 16):
        standing.note_lie("lie", now_s)
        assert not standing.has_voice(now_s + factor * QUARANTINE_S - 1)
        now_s += factor * QUARANTINE_S
        assert standing.has_voice(now_s)
        agree(standing, now_s)


def test_one_contradiction_is_a_block_in_flight_and_several_in_a_row_another_branch() -> None:
    standing = fresh()
    contradict(standing, times=CONTRADICTIONS_MAX - 1)
    agree(standing, 0.0)
    contradict(standing, times=CONTRADICTIONS_MAX - 1)
    assert state_of(standing) is NodeState.HEALTHY
    contradict(standing, times=1)
    assert state_of(standing) is NodeState.QUARANTINED
    assert "height 100" in (standing.problem or "")


def test_contradictions_at_past_heights_count_by_themselves() -> None:
    standing = fresh()
    for _ in range(CONTRADICTIONS_MAX):
        standing.note_agreement(False, 50, 0.0, at_head=False)
        agree(standing, 0.0)
    assert state_of(standing) is NodeState.QUARANTINED


def test_an_outvoted_node_keeps_its_voice_as_the_quorum_may_move_to_its_branch() -> None:
    standing = fresh()
    contradict(standing)
    assert state_of(standing) is NodeState.QUARANTINED
    assert standing.has_voice(0.0)


def test_an_outvoted_node_recovers_after_its_term_when_it_agrees() -> None:
    standing = fresh()
    contradict(standing)
    agree(standing, QUARANTINE_S - 1)
    assert state_of(standing) is NodeState.QUARANTINED
    agree(standing, QUARANTINE_S)
    assert state_of(standing) is NodeState.HEALTHY


def test_still_on_another_branch_after_the_term_means_another_term() -> None:
    standing = fresh()
    contradict(standing)
    contradict(standing, QUARANTINE_S, times=1)
    agree(standing, 2 * QUARANTINE_S - 1)
    assert state_of(standing) is NodeState.QUARANTINED


def test_lag_up_to_the_bound_is_healthy_and_beyond_it_is_told_once() -> None:
    standing = fresh()
    standing.note_head(BlockPoint(97, b"h"), 100)
    assert state_of(standing) is NodeState.HEALTHY
    standing.note_head(BlockPoint(96, b"h"), 100)
    standing.note_head(BlockPoint(96, b"h"), 101)
    assert state_of(standing) is NodeState.LAGGING
    assert standing.problem == "5 blocks behind"
    assert kinds(standing) == [ChangeKind.QUARANTINED]
    standing.note_head(BlockPoint(101, b"h"), 101)
    assert state_of(standing) is NodeState.HEALTHY
    assert kinds(standing) == [ChangeKind.RECOVERED]


def test_a_lagging_node_keeps_its_voice() -> None:
    standing = fresh()
    standing.note_head(BlockPoint(1, b"h"), 100)
    assert standing.has_voice(0.0)


def test_a_head_beyond_the_others_is_no_negative_lag() -> None:
    standing = fresh()
    standing.note_head(BlockPoint(200, b"h"), 100)
    assert standing.status().lag_blocks == 0


def test_repeated_failures_make_it_unreachable_until_as_many_answers() -> None:
    standing = fresh()
    for _ in range(FAILURES_MAX - 1):
        standing.note_failure("timeout")
    assert state_of(standing) is NodeState.HEALTHY
    assert standing.problem == "timeout"
    for _ in range(5):
        standing.note_failure("timeout")
    assert state_of(standing) is NodeState.UNREACHABLE
    for _ in range(FAILURES_MAX - 1):
        standing.note_answer(0.1)
    assert state_of(standing) is NodeState.UNREACHABLE
    standing.note_answer(0.1)
    assert state_of(standing) is NodeState.HEALTHY
    assert standing.status().problem is None
    assert kinds(standing) == [ChangeKind.QUARANTINED, ChangeKind.RECOVERED]


def test_changes_that_nobody_took_do_not_pile_up_and_end_with_what_is_true() -> None:
    standing = fresh()
    for _ in range(50):
        standing.note_head(BlockPoint(1, b"h"), 100)
        standing.note_head(BlockPoint(100, b"h"), 100)
    standing.note_head(BlockPoint(1, b"h"), 100)
    changes = kinds(standing)
    assert len(changes) <= 2
    assert changes[-1] is ChangeKind.QUARANTINED


def test_a_change_stays_until_it_is_told_and_one_that_was_given_up_meanwhile_may_be_told() -> None:
    standing = fresh()
    standing.note_head(BlockPoint(1, b"h"), 100)
    [lagging] = standing.changes()
    assert standing.changes() == [lagging]
    standing.note_head(BlockPoint(100, b"h"), 100)
    standing.told(lagging)
    assert kinds(standing) == [ChangeKind.RECOVERED]
    for _ in range(3):
        standing.note_head(BlockPoint(1, b"h"), 100)
        standing.note_head(BlockPoint(100, b"h"), 100)
    waiting = standing.changes()
    standing.told(lagging)
    assert standing.changes() == waiting


def test_latency_follows_the_answers_smoothly() -> None:
    standing = fresh()
    standing.note_answer(1.0)
    assert standing.latency_s == 1.0
    standing.note_answer(0.0)
    assert standing.latency_s is not None
    assert 0.5 < standing.latency_s < 1.0
