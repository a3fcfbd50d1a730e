"""The purse of a private Ethereum chain: deploys its contracts, and pays players in coins and tokens.

Called by `devnet.network`. Payments made here do not depend on one another: each comes from the next of many purses,
so that a reorg that drops one payment takes no other with it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eth_abi.exceptions import EncodingError
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import is_address
from eth_utils.crypto import keccak

from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.devnet.ethereum.chain import EvmChain
from cryptowatch.devnet.ethereum.rpc import EthereumRefused
from cryptowatch.devnet.ethereum.transactions import TIP_WEI, contract_address, signed, with_0x, without_0x
from cryptowatch.errors import OperatorError

# Fixed, so that a test can know it. Worth nothing anywhere else.
PRIVATE_KEY = "0x" + keccak(text="cryptowatch devnet faucet").hex()
PURSES = 64
BALANCE_WEI = 1_000_000 * 10**18
TOKENS_EACH = 1_000_000
_DEPLOY_GAS, _MINT_GAS = 3_000_000, 5_000_000
# An estimate counts on what is pending: the recipient's account may exist by then, and again not in the block.
_NEW_ACCOUNT_GAS = 30_000
_NATIVE = "ETH"


@dataclass(frozen=True)
class Token:
    """One of the faucet's, and what deploys it."""

    symbol: str
    decimals: int
    contract: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Payment:
    to: str
    data: bytes
    value_wei: int


def tokens(*, first: bool) -> list[Token]:
    """USDT as it is on Ethereum on the first chain, as on other chains on the others."""
    usdc = Token("USDC", 6, "StandardToken", ("USD Coin", "USDC", 6))
    if first:
        return [Token("USDT", 6, "TetherLike", ()), usdc]
    return [Token("USDT", 18, "StandardToken", ("Tether USD", "USDT", 18)), usdc]


def rich() -> list[str]:
    """The accounts that have coins from the first block on."""
    return [_key().address, *(purse.address for purse in _purses())]


class EvmFaucet:
    """`open` first. Amounts are decimal strings in whole coins or tokens."""

    def __init__(self, chain: EvmChain, *, first: bool) -> None:
        self.chain = chain
        self._key = _key()
        self._purses = _purses()
        self._sending = asyncio.Lock()
        self._tokens = tokens(first=first)
        # Deployed by the faucet's first transactions, so their places are known before.
        places = [contract_address(self._key.address, nonce) for nonce in range(len(self._tokens) + 1)]
        self.tokens: Mapping[str, str] = {
            token.symbol: place for token, place in zip(self._tokens, places, strict=False)
        }
        self._internal_sender = places[-1]

    async def open(self) -> None:
        """Deploy the contracts and fill the purses, unless that was done in an earlier run."""
        if self.chain.height > 0:
            return
        creations = [contract(token.contract).creation(token.args) for token in self._tokens]
        for creation in [*creations, contract("InternalSender").creation()]:
            await self._transact(self._key, None, creation, gas=_DEPLOY_GAS)
        for token in self._tokens:
            units = TOKENS_EACH * 10**token.decimals
            mint = contract(token.contract).call("mint", rich(), units)
            await self._transact(self._key, self.tokens[token.symbol], mint, gas=_MINT_GAS)
        await self.chain.mine(1)

    async def send(self, address: str, amount: str, *, asset: str | None, internal: bool) -> str:
        """Pay an address; the transaction's hash. `internal`: the coins come from within a contract's call."""
        payment = self.payment(address, amount, asset)
        if internal:
            if payment.data:
                raise OperatorError(
                    "only coins can be sent internally: a token's transfer always has its log"
                )
            data = contract("InternalSender").call("forward", address)
            payment = Payment(self._internal_sender, data, payment.value_wei)
        # The one that was used longest ago; what a reorg dropped can be sent again until its turn comes.
        purse = self._purses.pop(0)
        self._purses.append(purse)
        return await self._transact(purse, payment.to, payment.data, value_wei=payment.value_wei)

    def payment(self, address: str, amount: str, asset: str | None) -> Payment:
        """What a transaction must be like that pays an address."""
        if not is_address(address):
            raise OperatorError(f"the faucet cannot pay {address}: that is no address")
        if asset in (None, _NATIVE):
            return Payment(with_0x(address), b"", _units(amount, 18))
        for token in self._tokens:
            if token.symbol == asset:
                data = contract(token.contract).call("transfer", address, _units(amount, token.decimals))
                return Payment(self.tokens[asset], data, 0)
        raise OperatorError(f"the faucet has no {asset}: {', '.join([_NATIVE, *self.tokens])}")

    async def deploy(self, name: str, args: Sequence[Any]) -> str:
        """Deploy one of the known contracts by the faucet's key and mine it; its address."""
        try:
            creation = contract(name).creation(args)
        except EncodingError as problem:
            raise OperatorError(f"{name} cannot be deployed with these arguments: {problem}") from problem
        tx_hash = await self._transact(self._key, None, creation)
        await self.chain.mine(1)
        receipt = await self.chain.alive()[0].rpc("eth_getTransactionReceipt", with_0x(tx_hash))
        if receipt is None or receipt["status"] != "0x1":
            raise OperatorError(f"{name} was not deployed: {tx_hash} failed")
        return str(receipt["contractAddress"])

    async def _transact(
        self, key: LocalAccount, to: str | None, data: bytes, *, value_wei: int = 0, gas: int | None = None
    ) -> str:
        rpc = self.chain.alive()[0].rpc
        async with self._sending:
            fields: dict[str, Any] = {"value": value_wei, "data": data}
            if to is not None:
                fields["to"] = bytes.fromhex(without_0x(to))
            asked = {"from": key.address, "value": hex(value_wei), "data": "0x" + data.hex()}
            asked |= {} if to is None else {"to": with_0x(to)}
            try:
                if gas is None:
                    gas = int(await rpc("eth_estimateGas", asked), 16) * 6 // 5 + _NEW_ACCOUNT_GAS
                nonce = int(await rpc("eth_getTransactionCount", key.address, "pending"), 16)
                tip_wei = TIP_WEI
                transaction = signed(
                    key,
                    self.chain.chain_id,
                    nonce=nonce,
                    gas=gas,
                    maxPriorityFeePerGas=tip_wei,
                    maxFeePerGas=2 * self.chain.next_base_fee_wei + tip_wei,
                    **fields,
                )
                return await self.chain.broadcast(transaction.raw)
            except EthereumRefused as refusal:
                raise OperatorError(f"the faucet cannot pay: {refusal.message}") from refusal


def _key() -> LocalAccount:
    key: LocalAccount = Account.from_key(PRIVATE_KEY)
    return key


def _purses() -> list[LocalAccount]:
    return [Account.from_key(keccak(text=f"cryptowatch devnet purse {n}")) for n in range(PURSES)]


def _units(amount: str, decimals: int) -> int:
    units = Decimal(amount).scaleb(decimals)
    if units <= 0 or units != units.to_integral_value():
        raise OperatorError(f"{amount} is no amount of a coin with {decimals} decimals")
    return int(units)
