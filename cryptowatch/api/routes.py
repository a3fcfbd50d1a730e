"""The table of all calls: method, path, scope, types, problems, handler.

`app` serves it, `openapi` documents it.
"""

from cryptowatch.accounts.allowed import AllowedAddressView
from cryptowatch.accounts.players import PlayerView
from cryptowatch.api import (
    accounts,
    allowed,
    deposits,
    transfers,
    withdrawals,
)
from cryptowatch.api.calls import Route
from cryptowatch.api.house_routes import HOUSE
from cryptowatch.api.keys import Scope
from cryptowatch.api.referral_routes import REFERRALS
from cryptowatch.deposits.view import DepositView
from cryptowatch.payouts.view import WithdrawalView

_ACCOUNT = "/v1/accounts/{account_id}"
_ALLOWED = _ACCOUNT + "/allowed-addresses"
_DEPOSIT = "/v1/deposits/{deposit_id}"
_WITHDRAWAL = "/v1/withdrawals/{withdrawal_id}"

_ACCOUNTS = (
    Route(
        "POST",
        "/v1/accounts",
        Scope.ACCOUNTS,
        "Create a player's account, or get it when the external id is known",
        accounts.create_account,
        accounts.NewAccountView,
        body=accounts.NewAccount,
        status=201,
        other_statuses=(200,),
        codes=("unknown_referral_code",),
    ),
    Route(
        "GET",
        "/v1/accounts",
        Scope.READ,
        "List accounts, newest first",
        accounts.list_accounts,
        accounts.AccountPage,
        query=accounts.AccountsQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _ACCOUNT, Scope.READ, "Get an account", accounts.get_account, PlayerView),
    Route(
        "PATCH",
        _ACCOUNT,
        Scope.ACCOUNTS,
        "Change an account's standing, KYC level, limits or metadata",
        accounts.update_account,
        PlayerView,
        body=accounts.AccountPatch,
        codes=("unknown_asset", "invalid_amount"),
    ),
    Route(
        "GET",
        _ACCOUNT + "/balances",
        Scope.READ,
        "List an account's balances",
        accounts.list_balances,
        list[accounts.BalanceView],
    ),
    Route(
        "GET",
        _ACCOUNT + "/statement",
        Scope.READ,
        "List an account's postings, newest first",
        accounts.list_statement,
        accounts.StatementPage,
        query=accounts.StatementQuery,
        codes=("invalid_cursor",),
    ),
    Route(
        "POST",
        _ACCOUNT + "/addresses",
        Scope.ACCOUNTS,
        "Get an address to which the player can deposit",
        accounts.create_address,
        accounts.AddressView,
        body=accounts.AddressRequest,
        status=201,
        codes=("unknown_chain", "no_address_free"),
    ),
    Route(
        "POST",
        _ALLOWED,
        Scope.ACCOUNTS,
        "Allow withdrawals to an address, once its cooling-off is over",
        allowed.create_allowed,
        AllowedAddressView,
        body=allowed.AllowedAddressRequest,
        status=201,
        other_statuses=(200,),
        codes=("unknown_chain", "invalid_address", "network_mismatch", "too_many_addresses"),
    ),
    Route(
        "GET",
        _ALLOWED,
        Scope.READ,
        "List the addresses that an account allows, oldest first",
        allowed.list_all_allowed,
        list[AllowedAddressView],
    ),
    Route(
        "DELETE",
        _ALLOWED + "/{allowed_address_id}",
        Scope.ACCOUNTS,
        "Allow an address no longer",
        allowed.delete_allowed,
        None,
        status=204,
    ),
)

_MONEY = (
    Route(
        "POST",
        "/v1/transfers",
        Scope.LEDGER,
        "Post a bet, win, refund, bonus or adjustment",
        transfers.create_transfer,
        transfers.TransferView,
        body=transfers.TransferRequest,
        status=201,
        codes=(
            "unknown_account",
            "unknown_asset",
            "invalid_amount",
            "insufficient_funds",
            "account_not_active",
        ),
        idempotent=True,
        guarded=True,
    ),
    Route(
        "GET",
        "/v1/deposits",
        Scope.READ,
        "List deposits, newest first",
        deposits.list_all_deposits,
        deposits.DepositPage,
        query=deposits.DepositsQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _DEPOSIT, Scope.READ, "Get a deposit", deposits.get_deposit, DepositView),
    Route(
        "POST",
        _DEPOSIT + "/release",
        Scope.APPROVALS,
        "Let a quarantined deposit go on",
        deposits.release_quarantined,
        DepositView,
        body=deposits.Empty,
        codes=("wrong_state",),
        idempotent=True,
    ),
    Route(
        "POST",
        "/v1/withdrawals",
        Scope.WITHDRAWALS,
        "Request a withdrawal",
        withdrawals.CREATE,
        WithdrawalView,
        body=withdrawals.WithdrawalRequest,
        status=202,
        codes=(
            "unknown_account",
            "unknown_chain",
            "unknown_asset",
            "invalid_amount",
            "insufficient_withdrawable",
            "account_frozen",
            "invalid_address",
            "network_mismatch",
            "own_address",
            "address_denied",
            "address_not_allowed",
            "wager_required",
            "amount_below_minimum",
            "amount_too_precise",
            "limit_exceeded",
        ),
        idempotent=True,
    ),
    Route(
        "GET",
        "/v1/withdrawals",
        Scope.READ,
        "List withdrawals, newest first",
        withdrawals.list_all_withdrawals,
        withdrawals.WithdrawalPage,
        query=withdrawals.WithdrawalsQuery,
        codes=("invalid_cursor",),
    ),
    Route("GET", _WITHDRAWAL, Scope.READ, "Get a withdrawal", withdrawals.get_withdrawal, WithdrawalView),
    Route(
        "POST",
        _WITHDRAWAL + "/approve",
        Scope.APPROVALS,
        "Approve a withdrawal in review",
        withdrawals.approve_withdrawal,
        WithdrawalView,
        body=withdrawals.Decision,
        codes=(
            "wrong_state",
            "approver_is_requester",
            "already_approved",
            "account_frozen",
            "account_in_debt",
            "address_denied",
        ),
        idempotent=True,
    ),
    Route(
        "POST",
        _WITHDRAWAL + "/reject",
        Scope.APPROVALS,
        "Reject a withdrawal in review",
        withdrawals.reject_withdrawal,
        WithdrawalView,
        body=withdrawals.Decision,
        codes=("wrong_state",),
        idempotent=True,
    ),
    Route(
        "POST",
        _WITHDRAWAL + "/cancel",
        Scope.WITHDRAWALS,
        "Cancel a withdrawal that is not being sent yet",
        withdrawals.cancel_withdrawal,
        WithdrawalView,
        body=withdrawals.Decision,
        codes=("wrong_state",),
        idempotent=True,
    ),
)

ROUTES: tuple[Route, ...] = (*_ACCOUNTS, *_MONEY, *REFERRALS, *HOUSE)
