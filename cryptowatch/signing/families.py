"""How each chain family's plans are signed: what `daemon` hands to `sending` for each chain.

The daemon's side of P9: plans go to the signer's socket, signed bytes come back, no key is near.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cryptowatch.chains.bitcoin.payments import BitcoinPlan, KeyPath
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.plans import Plan
from cryptowatch.errors import SignerRefused, SignerWaits
from cryptowatch.signing import messages
from cryptowatch.signing.client import SignerClient, SigningRefused
from cryptowatch.signing.policy import Reason


class SignedTransaction(NamedTuple):
    tx_hash: bytes
    raw: bytes


#: (plan, lineage's id as shown) -> what to send. Raises SignerUnavailable, SignerWaits, SignerRefused.
Sign = Callable[[Plan, str], Awaitable[SignedTransaction]]

_SCHEMES: dict[int, messages.Scheme] = {0: "listed", 44: "bip44", 84: "bip84", 86: "bip86"}


def signing_for(family: str, client: SignerClient, chain: str) -> Sign:
    """The signing function of one chain. Raises KeyError for a family that nobody can sign for."""
    return {"bitcoin": _bitcoin, "ethereum": _ethereum}[family](client, chain)


def _bitcoin(client: SignerClient, chain: str) -> Sign:
    async def sign(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert isinstance(plan, BitcoinPlan)
        change = {one.position: _path(one.path) for one in plan.change if one.position is not None}
        with _refusals():
            raw = await client.sign_bitcoin(
                chain=chain,
                lineage_id=lineage_id,
                transaction=plan.transaction,
                input_paths=[_path(path) for path in plan.input_paths],
                change_paths=change,
                cold_indexes=plan.cold_indexes,
            )
        return SignedTransaction(plan.tx_hash, raw)

    return sign


def _ethereum(client: SignerClient, chain: str) -> Sign:
    # As in chains.connect: a daemon without such a chain does not load what it takes to speak to its contracts.
    from cryptowatch.chains.ethereum.payments import EthereumPlan

    async def sign(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert isinstance(plan, EthereumPlan)
        with _refusals():
            raw = await client.sign_ethereum(
                chain=chain,
                lineage_id=lineage_id,
                transaction=plan.transaction,
                account=plan.account,
                key_path=_path(plan.key_path),
                authorized_by=[(authority, _path(path)) for authority, path in plan.authorized_by],
            )
        return SignedTransaction(keccak(raw), raw)

    return sign


@contextmanager
def _refusals() -> Iterator[None]:
    """A full hour passes; any other refusal does not."""
    try:
        yield
    except SigningRefused as refusal:
        if refusal.reason == Reason.HOURLY_LIMIT:
            raise SignerWaits(str(refusal)) from refusal
        raise SignerRefused(str(refusal)) from refusal


def _path(path: KeyPath) -> messages.KeyPath:
    scheme, branch, index = path
    assert branch in (0, 1)
    return messages.KeyPath(_SCHEMES[scheme], 1 if branch else 0, index)
