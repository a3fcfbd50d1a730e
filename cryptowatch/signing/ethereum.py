"""Signs Ethereum transactions of the few kinds that we make, after reading what each would do. No I/O.

Called by `signing.service`. Keeps P9: the caller's word on what a transaction is for is never taken; what cannot be
read as one of these kinds is refused:

    sending accounts    pay (the chain's own coin, or a token through the payouts contract), sweep through the sweeper,
                        refill one another, let the payouts contract spend a listed token, use up a nonce, pay a
                        cold account of the signer's settings (its token, too, and never through a contract of ours)
    deposit accounts    delegate to the one listed contract, in a sweep of theirs; where the chain knows no delegation,
                        give what they hold to the vault, use up a nonce

Whatever goes through a contract is charged as paid to strangers, even where it names our own accounts: that the money
arrives there is the contract's word. Authorizations are for an account's first nonce only: one for a later nonce could
be kept until the contract that it names is replaced, and then bring the old one back.

Deterministic (P3): the same transaction always gives the same bytes (RFC 6979), but where the key is in KMS.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

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
    Authorization,
    Signature,
    UnsignedTransaction,
    authorization_hash,
    serialise,
    signing_hash,
)
from cryptowatch.signing.account_policy import AccountProposal
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.policy import Reason, Refusal
from cryptowatch.signing.wallet import OWN_BRANCH, AccountKey, WalletKeys


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the signer knows of a chain by its own settings."""

    chain: ChainFacts
    #: What deposit accounts delegate to; None where the chain knows no delegation.
    delegate: bytes | None


@dataclass(frozen=True, slots=True)
class EthereumKeys:
    """The keys of one request, by their paths: the sender's, and those of who authorizes."""

    sender: AccountKey
    own: bool
    authorizing: tuple[AccountKey, ...]


def request_keys(
    transaction: UnsignedTransaction,
    path: KeyPath,
    authorized_by: Sequence[KeyPath],
    wallet: WalletKeys,
) -> EthereumKeys | Refusal:
    if len(authorized_by) != len(transaction.authorizations):
        return Refusal(Reason.MALFORMED, "as many keys as authorizations must be named")
    sender = wallet.key(path)
    if sender is None:
        return Refusal(Reason.FOREIGN_INPUT, "no sending account is at this path")
    authorizing = [None if one.branch == OWN_BRANCH else wallet.key(one) for one in authorized_by]
    if None in authorizing:
        return Refusal(Reason.FOREIGN_INPUT, "only deposit accounts delegate")
    return EthereumKeys(sender, path.branch == OWN_BRANCH, tuple(key for key in authorizing if key))


@dataclass(frozen=True, slots=True)
class _Effect:
    """What a transaction does besides costing its fee: payments as (destination, asset, base units)."""

    payments: tuple[tuple[bytes, str, int], ...] = ()
    swept: tuple[bytes, ...] = ()
    #: Payments to cold accounts.
    cold: tuple[tuple[bytes, str, int], ...] = ()


def proposal(
    transaction: UnsignedTransaction,
    keys: EthereumKeys,
    lineage_id: str,
    wallet: WalletKeys,
    facts: AccountFacts,
    cold: Set[bytes] = frozenset(),
) -> AccountProposal | Refusal:
    """The transaction as the policy judges it, or the refusal of what is none of our kinds."""
    chain = facts.chain
    if transaction.chain_id != chain.chain_id:
        return Refusal(Reason.UNKNOWN_CHAIN, f"chain id {transaction.chain_id}, not {chain.chain_id}")
    ours = {key.script for key in wallet.senders}
    effect = _effect(transaction, keys, ours, facts, cold)
    if effect is None:
        return Refusal(Reason.DESTINATION_NOT_ALLOWED, "this is no transaction of a kind that we make")
    if not _authorizes_its_sweep(transaction, keys, effect, facts):
        return Refusal(
            Reason.DESTINATION_NOT_ALLOWED, "an authorization is not for our delegate, or not swept by it"
        )
    return AccountProposal(
        lineage_id=lineage_id,
        resource=f"{keys.sender.script.hex()}:{transaction.nonce}",
        foreign=effect.payments,
        fee=transaction.fee_max * 10**chain.asset_scale,
        gas_price_wei=transaction.max_fee,
        batch=max(len(effect.payments), len(effect.swept)),
        cold=effect.cold,
    )


def _effect(
    t: UnsignedTransaction, keys: EthereumKeys, ours: Set[bytes], facts: AccountFacts, cold: Set[bytes]
) -> _Effect | None:
    if not keys.own:
        return _deposit_account_sends(t, keys, facts)
    if t.data:
        return _own_account_calls(t, facts.chain, cold)
    if not t.value:
        return _Effect() if t.to == keys.sender.script else None
    if t.to in ours:
        return _Effect()
    payment = ((t.to, facts.chain.asset, t.value * int(10**facts.chain.asset_scale)),)
    return _Effect(cold=payment) if t.to in cold else _Effect(payment)


def _own_account_calls(t: UnsignedTransaction, chain: ChainFacts, cold: Set[bytes]) -> _Effect | None:
    match read_call(t.data):
        case PayNative(recipients, amounts) if t.to == chain.payouts and t.value == sum(amounts):
            return _batch(chain.asset, chain.asset_scale, recipients, amounts)
        case PayTokens(token, recipients, amounts) if t.to == chain.payouts and not t.value:
            known = chain.tokens.get(token)
            return None if known is None else _batch(known.asset, known.scale, recipients, amounts)
        case Sweep(token, accounts) if t.to == chain.sweeper and not t.value:
            return _Effect(swept=accounts) if token == OWN_COIN or token in chain.tokens else None
        case Approve(spender) if t.to in chain.tokens and not t.value and spender == chain.payouts:
            return _Effect()
        case TransferToken(recipient, amount) if t.to in chain.tokens and not t.value and recipient in cold:
            token_sent = chain.tokens[t.to]
            return _Effect(cold=((recipient, token_sent.asset, token_sent.base_units(amount)),))
    return None


def _batch(asset: str, scale: int, recipients: Sequence[bytes], amounts: Sequence[int]) -> _Effect | None:
    if len(recipients) != len(amounts) or not recipients:
        return None
    unit: int = 10**scale
    return _Effect(tuple((to, asset, n * unit) for to, n in zip(recipients, amounts, strict=True)))


def _deposit_account_sends(t: UnsignedTransaction, keys: EthereumKeys, facts: AccountFacts) -> _Effect | None:
    """Nothing leaves the wallet but the fee. With delegation they send nothing: it would use up the first nonce."""
    chain = facts.chain
    if facts.delegate is not None or chain.vault is None:
        return None
    if not t.data:
        voids = t.to == keys.sender.script and not t.value
        return _Effect() if t.to == chain.vault or voids else None
    match read_call(t.data):
        case TransferToken(recipient) if t.to in chain.tokens and not t.value and recipient == chain.vault:
            return _Effect()
    return None


def _authorizes_its_sweep(
    t: UnsignedTransaction, keys: EthereumKeys, effect: _Effect, facts: AccountFacts
) -> bool:
    """Whether each authorization is for our delegate, by another one of the accounts that are swept."""
    authorities = [key.script for key in keys.authorizing]
    ours = None if facts.delegate is None else Authorization(facts.delegate)
    if len(set(authorities)) < len(authorities) or not set(authorities) <= set(effect.swept):
        return False
    return all(given == ours for given in t.authorizations)


def sign(transaction: UnsignedTransaction, keys: EthereumKeys) -> tuple[bytes, bytes]:
    """(hash, signed transaction in its wire form). Raises KeysUnavailable where a key is elsewhere."""
    authorized = [
        _signature(key, authorization_hash(transaction.chain_id, given))
        for key, given in zip(keys.authorizing, transaction.authorizations, strict=True)
    ]
    signature = _signature(keys.sender, signing_hash(transaction, authorized))
    raw = serialise(transaction, authorized, signature)
    return keccak(raw), raw


def _signature(key: AccountKey, digest: bytes) -> Signature:
    given = key.sign_recoverable(digest)
    return Signature(given[64], int.from_bytes(given[:32], "big"), int.from_bytes(given[32:64], "big"))


def as_text(amounts: Mapping[str, int]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}
