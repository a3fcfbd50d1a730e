"""Signs Ethereum transactions of the few kinds that we make, after reading what each would do. No I/O.

Called by `signing.service`. Keeps P9: the caller's word on what a transaction is for is never taken; what cannot be
read as one of these kinds is refused:

    sending accounts    pay strangers (the chain's own coin, or a token through the payouts contract), sweep through the
                        sweeper, refill one another, let the payouts contract spend a listed token, use up a nonce
    deposit accounts    delegate to the one listed contract; give what they hold to the vault

Deterministic (P3): the same transaction always gives the same bytes (RFC 6979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptowatch.chains.ethereum.facts import ChainFacts
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.our_calls import (
    OWN_COIN,
    Approve,
    PayNative,
    PayTokens,
    Sweep,
    TransferToken,
    read_call,
)
from cryptowatch.chains.ethereum.transaction import (
    Signature,
    UnsignedTransaction,
    authorization_hash,
    serialise,
    signing_hash,
)
from cryptowatch.signing.account_policy import AccountProposal
from cryptowatch.signing.keys import AccountKeys, SigningKey
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.policy import Reason, Refusal

_OWN_BRANCH: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the signer knows of a chain by its own settings."""

    chain: ChainFacts
    delegate: bytes | None
    hot_accounts: int


@dataclass(frozen=True, slots=True)
class EthereumKeys:
    """The keys of one request, by their paths: the sender's, and those of who authorizes."""

    sender: SigningKey
    own: bool
    authorizing: tuple[SigningKey, ...]


def request_keys(
    transaction: UnsignedTransaction,
    path: KeyPath,
    authorized_by: Sequence[KeyPath],
    accounts: AccountKeys,
    facts: AccountFacts,
) -> EthereumKeys | Refusal:
    if len(authorized_by) != len(transaction.authorizations):
        return Refusal(Reason.MALFORMED, "as many keys as authorizations must be named")
    own = path.branch == _OWN_BRANCH
    if path.scheme != "bip44" or (own and path.index >= facts.hot_accounts):
        return Refusal(Reason.FOREIGN_INPUT, "no sending account is at this path")
    if any(key.scheme != "bip44" or key.branch == _OWN_BRANCH for key in authorized_by):
        return Refusal(Reason.FOREIGN_INPUT, "only deposit accounts delegate")
    return EthereumKeys(accounts.key(path), own, tuple(map(accounts.key, authorized_by)))


def proposal(
    transaction: UnsignedTransaction,
    keys: EthereumKeys,
    lineage_id: str,
    accounts: AccountKeys,
    facts: AccountFacts,
) -> AccountProposal | Refusal:
    """The transaction as the policy judges it, or the refusal of what is none of our kinds."""
    chain = facts.chain
    if transaction.chain_id != chain.chain_id:
        return Refusal(Reason.UNKNOWN_CHAIN, f"chain id {transaction.chain_id}, not {chain.chain_id}")
    if any(given.delegate != facts.delegate for given in transaction.authorizations):
        return Refusal(Reason.DESTINATION_NOT_ALLOWED, "an authorization is not for our delegate")
    paid = _own_account_pays(transaction, facts) if keys.own else _deposit_account_gives(transaction, chain)
    if isinstance(paid, Refusal):
        return paid
    ours = {accounts.key(KeyPath("bip44", _OWN_BRANCH, n)).script for n in range(facts.hot_accounts)}
    return AccountProposal(
        lineage_id=lineage_id,
        resource=f"{keys.sender.script.hex()}:{transaction.nonce}",
        foreign=tuple(payment for payment in paid if payment[0] not in ours),
        fee=transaction.fee_max * 10**chain.asset_scale,
        gas_price_wei=transaction.max_fee,
        batch=max(len(paid), len(transaction.authorizations)),
    )


_Payments = tuple[tuple[bytes, str, int], ...]


def _own_account_pays(transaction: UnsignedTransaction, facts: AccountFacts) -> _Payments | Refusal:
    """(destination, asset, base units) of each payment. A sweep, a setup and a void pay nobody."""
    t, chain = transaction, facts.chain
    coin = 10**chain.asset_scale
    if not t.data:
        return ((t.to, chain.asset, t.value * coin),) if t.value else ()
    call = read_call(t.data)
    match call:
        case PayNative(recipients, amounts) if t.to == chain.payouts and len(recipients) == len(amounts):
            if t.value == sum(amounts):
                return tuple((to, chain.asset, n * coin) for to, n in zip(recipients, amounts, strict=True))
        case PayTokens(token, recipients, amounts) if (
            t.to == chain.payouts
            and not t.value
            and token in chain.tokens
            and len(recipients) == len(amounts)
        ):
            known = chain.tokens[token]
            unit = 10**known.scale
            return tuple((to, known.asset, n * unit) for to, n in zip(recipients, amounts, strict=True))
        case Sweep(token, _) if t.to == chain.sweeper and not t.value:
            if token == OWN_COIN or token in chain.tokens:
                return ()
        case Approve(spender) if t.to in chain.tokens and not t.value and spender == chain.payouts:
            return ()
    return Refusal(Reason.DESTINATION_NOT_ALLOWED, "this is no transaction of a kind that we make")


def _deposit_account_gives(transaction: UnsignedTransaction, chain: ChainFacts) -> _Payments | Refusal:
    """All that a deposit account may send, it sends to the vault: nothing leaves the wallet but the fee."""
    t = transaction
    if not t.authorizations and chain.vault is not None:
        if t.to == chain.vault and not t.data:
            return ()
        call = read_call(t.data)
        token = t.to in chain.tokens and not t.value
        if token and isinstance(call, TransferToken) and call.recipient == chain.vault:
            return ()
    return Refusal(Reason.DESTINATION_NOT_ALLOWED, "a deposit account pays nobody but the vault")


def sign(transaction: UnsignedTransaction, keys: EthereumKeys) -> tuple[bytes, bytes]:
    """(hash, signed transaction in its wire form)."""
    authorized = [
        _signature(key, authorization_hash(transaction.chain_id, given))
        for key, given in zip(keys.authorizing, transaction.authorizations, strict=True)
    ]
    signature = _signature(keys.sender, signing_hash(transaction, authorized))
    raw = serialise(transaction, authorized, signature)
    return keccak(raw), raw


def _signature(key: SigningKey, digest: bytes) -> Signature:
    """libsecp256k1 gives the lower `s` always, and the nonce of RFC 6979."""
    given = key.private.sign_recoverable(digest, hasher=None)
    return Signature(given[64], int.from_bytes(given[:32], "big"), int.from_bytes(given[32:64], "big"))


def as_text(amounts: Mapping[str, int]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}
