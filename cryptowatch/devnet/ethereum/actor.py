"""An account that acts on a devnet's Ethereum chain: for tests and benchmarks, over the devnet's levers."""

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from cryptowatch.devnet.client import Net
from cryptowatch.devnet.ethereum.artifacts import contract
from cryptowatch.devnet.ethereum.transactions import TIP_WEI, Transaction, signed

#: The most that one transaction may ask for (EIP-7825).
GAS_MAX = 1 << 24


class Actor:
    """One key on one chain. Addresses are hex with 0x."""

    def __init__(self, net: Net, chain: str, private_key: str) -> None:
        self._net = net
        self._chain = chain
        self.key: LocalAccount = Account.from_key(private_key)
        self._rpc = net.evm[chain].nodes[0].rpc

    @property
    def address(self) -> str:
        return str(self.key.address)

    async def sign(
        self,
        to: str,
        data: bytes = b"",
        *,
        value_wei: int = 0,
        gas: int = GAS_MAX,
        nonce: int | None = None,
        authorizations: Sequence[Any] = (),
    ) -> Transaction:
        """A transaction at the next nonce, unless it is told which."""
        if nonce is None:
            nonce = await self.next_nonce()
        base_fee_wei = int((await self._rpc("eth_getBlockByNumber", "latest", False))["baseFeePerGas"], 16)
        fields: dict[str, Any] = (
            {"type": 4, "authorizationList": list(authorizations)} if authorizations else {}
        )
        return signed(
            self.key,
            self._net.evm[self._chain].chain_id,
            nonce=nonce,
            gas=gas,
            to=bytes.fromhex(to[2:]),
            data=data,
            value=value_wei,
            maxPriorityFeePerGas=TIP_WEI,
            maxFeePerGas=2 * base_fee_wei + TIP_WEI,
            **fields,
        )

    async def execute(self, to: str, data: bytes = b"", **options: Any) -> dict[str, Any]:
        """Sign, send, mine; the receipt. `options` as in `sign`."""
        transaction = await self.sign(to, data, **options)
        await self._net.broadcast(transaction.raw, chain=self._chain)
        await self._net.mine(chain=self._chain)
        receipt: dict[str, Any] = await self._rpc("eth_getTransactionReceipt", transaction.hash)
        return receipt

    async def read(self, at: str, name: str, function: str, *args: Any) -> Any:
        """What a function of a contract of that name answers at the head."""
        data = "0x" + contract(name).call(function, *args).hex()
        answer = await self._rpc("eth_call", {"from": self.address, "to": at, "data": data}, "latest")
        return contract(name).answer(function, bytes.fromhex(answer[2:]))

    async def next_nonce(self) -> int:
        return int(await self._rpc("eth_getTransactionCount", self.address, "pending"), 16)

    async def balance_wei(self, address: str) -> int:
        return int(await self._rpc("eth_getBalance", address, "latest"), 16)

    def authorize(self, delegate: str, nonce: int) -> Any:
        """This account's signature to run the delegate's code from then on (EIP-7702)."""
        chain_id = self._net.evm[self._chain].chain_id
        return self.key.sign_authorization({"chainId": chain_id, "address": delegate, "nonce": nonce})
