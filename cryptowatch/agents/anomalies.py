"""What a person should look at before a commission is paid. Pure; called by `statements` when a period is closed.

A finding accuses nobody: it holds the statement back until somebody decided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptowatch.agents.plans import WHOLE_BP


class Anomaly(StrEnum):
    SUDDEN_TURNOVER = "sudden_turnover"
    SELF_PLAY = "self_play"
    MATCHED_BETS = "matched_bets"


@dataclass(frozen=True, slots=True)
class AnomalyRules:
    """`sudden_times`: so many times the average of earlier periods. The others: from such a share of turnover on."""

    sudden_times: int
    self_play_bp: int
    matched_bp: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one agent, asset and period, all in base units of turnover of its own players.

    `earlier`: that of the periods before, as far as there were any. `own`: of the agent's own account, and of
    accounts that share a device, a network or an address with it. `matched`: in rounds in which two or more of its
    players bet, and together got back nearly all of it.
    """

    turnover: int
    earlier: Sequence[int]
    own: int
    matched: int


@dataclass(frozen=True, slots=True)
class Finding:
    anomaly: Anomaly
    #: What was compared, for people.
    compared: dict[str, str]


def anomalies(facts: Facts, rules: AnomalyRules) -> Iterator[Finding]:
    if facts.turnover <= 0:
        return
    # Of a first period nothing is known: every agent begins with one.
    if facts.earlier and facts.turnover * len(facts.earlier) > rules.sudden_times * sum(facts.earlier):
        average = sum(facts.earlier) // len(facts.earlier)
        yield Finding(
            Anomaly.SUDDEN_TURNOVER, {"turnover": str(facts.turnover), "average_before": str(average)}
        )
    for anomaly, part, most_bp in (
        (Anomaly.SELF_PLAY, facts.own, rules.self_play_bp),
        (Anomaly.MATCHED_BETS, facts.matched, rules.matched_bp),
    ):
        if part > 0 and part * WHOLE_BP >= most_bp * facts.turnover:
            yield Finding(anomaly, {"turnover": str(facts.turnover), "of_it": str(part)})
