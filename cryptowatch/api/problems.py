"""Every error that the API can answer: its stable code, status and title. RFC 9457 problem JSON.

Codes are part of the contract: never renamed, never reused. Used by every module of the API; the OpenAPI
document and its page list them from here.
"""

from collections.abc import Mapping

import msgspec

CONTENT_TYPE = "application/problem+json"

#: code -> (HTTP status, title)
CODES: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, "The request does not have the form that this call takes"),
    "invalid_json": (400, "The body is not JSON"),
    "invalid_cursor": (400, "The cursor is not one that this list gave"),
    "idempotency_key_missing": (400, "This call needs an Idempotency-Key"),
    "invalid_idempotency_key": (400, "An Idempotency-Key has 1 to 255 printable ASCII characters"),
    "unauthorized": (401, "No valid API key"),
    "forbidden": (403, "The API key lacks the scope"),
    "approver_is_requester": (403, "Approval needs another key than the requester's"),
    "already_approved": (403, "A second approval needs another key than the first"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "This path does not take this method"),
    "timeout": (408, "The request did not arrive in time"),
    "in_progress": (409, "A request with this Idempotency-Key is under way"),
    "chain_halted": (409, "A person must let the chain's payouts go on first"),
    "rebalance_open": (409, "A rebalance of this asset is open"),
    "screening_pending": (409, "The screening did not let it pass yet"),
    "term_runs": (409, "The player set a term that runs until later"),
    "more_findings": (409, "Its rule found more than you saw"),
    "wrong_state": (409, "Its present state does not allow this"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body must be application/json, not compressed"),
    "expectation_failed": (417, "This expectation cannot be met"),
    "idempotency_key_reused": (422, "This Idempotency-Key came with another request before"),
    "unknown_account": (422, "There is no such account"),
    "unknown_chain": (422, "There is no such chain"),
    "unknown_asset": (422, "There is no such asset here"),
    "invalid_amount": (422, "The amount cannot be used"),
    "insufficient_funds": (422, "The playable balance does not cover the amount"),
    "insufficient_withdrawable": (422, "The withdrawable balance does not cover the amount"),
    "account_not_active": (422, "The account may not do this"),
    "account_frozen": (422, "The account is frozen"),
    "account_under_review": (422, "A case about the account must be decided first"),
    "account_in_debt": (422, "The account owes more than it has"),
    "invalid_address": (422, "The chain cannot pay to this address"),
    "network_mismatch": (422, "The address belongs to another chain or network"),
    "own_address": (422, "The address belongs to our own wallet"),
    "address_denied": (422, "Paying to this address is not allowed"),
    "address_not_allowed": (422, "The account does not allow this address, or not yet"),
    "too_many_addresses": (422, "The account allows as many addresses as it can"),
    "wager_required": (422, "More must be bet before money can leave"),
    "travel_rule_required": (422, "The withdrawal must say who sends and who receives it"),
    "amount_below_minimum": (422, "The amount is below the minimum"),
    "amount_too_precise": (422, "The chain cannot express the amount"),
    "limit_exceeded": (422, "The amount is beyond a limit"),
    "rate_unknown": (422, "A rate that a limit needs is not known"),
    "invalid_term": (422, "The term cannot be used"),
    "invalid_ip_prefix": (422, "This is no network"),
    "deposit_limit_reached": (422, "The player's own limit on deposits is reached"),
    "unknown_agent": (422, "There is no such agent"),
    "unknown_plan": (422, "There is no such commission plan"),
    "plan_exceeds_parent": (422, "The plan promises more than the agent above earns"),
    "account_is_agent": (422, "The account belongs to an agent"),
    "agent_above_itself": (422, "An agent cannot be below itself"),
    "agents_too_deep": (422, "Agents stand only so deep"),
    "jurisdiction_not_allowed": (422, "The agent may not have players there"),
    "unknown_referral_code": (422, "There is no such referral code"),
    "own_referral_code": (422, "An account cannot refer itself"),
    "already_referred": (422, "The account was referred before"),
    "referral_window_over": (422, "The time for entering a referral code is over"),
    "unknown_programme": (422, "There is no such programme"),
    "invalid_terms": (422, "A programme cannot have these terms"),
    "name_taken": (422, "Another one has this name"),
    "invalid_code": (422, "A code cannot be spelled so"),
    "code_taken": (422, "The code is taken"),
    "too_many_codes": (422, "The account has as many codes as it can"),
    "wrong_signature": (422, "The signed transaction is not the one that was to be signed"),
    "no_cold_wallet": (422, "The chain has no cold wallet"),
    "invalid_url": (422, "Deliveries cannot go to this URL"),
    "too_many_endpoints": (422, "There are as many webhook endpoints as allowed"),
    "rate_limited": (429, "The API key calls more often than it may"),
    "internal_error": (500, "Something went wrong on our side"),
    "overloaded": (503, "Too many requests are under way"),
    "database_unavailable": (503, "The database is away"),
    "no_address_free": (503, "No address is derived yet"),
    "fees_unknown": (503, "The chain's fees were not surveyed yet"),
    "request_timeout": (504, "The answer took too long"),
}

#: What a client waits before it asks again, for what passes by itself.
RETRY_AFTER_S: Mapping[str, int] = {
    "in_progress": 1,
    # A key's rate is at least one request a second.
    "rate_limited": 1,
    "overloaded": 1,
    "database_unavailable": 2,
    "no_address_free": 2,
    "fees_unknown": 30,
}


class Problem(msgspec.Struct, frozen=True):
    """One refusal. `detail` is for people and may change; `code` is for programs."""

    code: str
    detail: str

    @property
    def status(self) -> int:
        return CODES[self.code][0]


class ProblemView(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class Refused(Exception):
    """Ends a request where it stands and rolls its transaction back. Caught by `pipeline` alone."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def refuse(code: str, detail: str) -> Refused:
    return Refused(Problem(code, detail))


def problem_view(problem: Problem, request_id: str) -> ProblemView:
    status, title = CODES[problem.code]
    return ProblemView(
        type=f"urn:cryptowatch:problem:{problem.code}",
        title=title,
        status=status,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id,
    )
