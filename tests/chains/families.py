"""What the conformance suite needs of each family beyond the port: keys, plans, payments, other people's libraries.

A third family adds an adapter here and is held to the same rules.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from embit import bip32, script
from embit.networks import NETWORKS
from eth_account import Account
from eth_account.hdaccount import ETHEREUM_DEFAULT_PATH, seed_from_mnemonic
from eth_account.hdaccount import key_from_seed as eth_account_key

from cryptowatch.chains.bitcoin.address import address_of as bitcoin_address
from cryptowatch.chains.bitcoin.payments import BitcoinPlan, BitcoinPlanner
from cryptowatch.chains.connect import ConnectedChain, connect
from cryptowatch.chains.ethereum.address import address_of as ethereum_address
from cryptowatch.chains.ethereum.our_calls import PayNative, read_call
from cryptowatch.chains.ethereum.payments import EthereumPlan, EthereumPlanner
from cryptowatch.chains.plans import Bid, Coin, Insufficient, Plan, Recipient, Sender
from cryptowatch.devnet.client import Net
from cryptowatch.money import BaseUnits
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from tests.support.wallet import ACCOUNTS, MNEMONIC

EXAMPLE = Path(__file__).parents[2] / "config" / "cryptowatch.example.toml"
_XPUBS = {f"xpub_{scheme}": xpub for scheme, xpub in ACCOUNTS.xpubs("main").items()}


@dataclass(frozen=True)
class Signed:
    """A transaction of a stranger's, with all that it uses."""

    tx_hash: bytes
    raw: bytes
    resources: tuple[bytes, ...]


class Family(Protocol):
    """One family. `chain` is its name in the example's and in the devnet's settings."""

    chain: str
    decimals: int
    #: Texts that are addresses, but of another network or of nobody.
    foreign_addresses: Sequence[str]

    def theirs(self, scheme: int, branch: int, index: int) -> str:
        """The address of the test mnemonic's key, as an independent library makes it."""
        ...

    def new_destination(self) -> tuple[str, bytes]:
        """(address, destination) on the devnet, of a key that nobody has."""
        ...

    def planned(self, chain: ConnectedChain, recipients: Sequence[Recipient], bid: Bid) -> Plan: ...

    def paid(self, plan: Plan) -> Mapping[bytes, int]:
        """Destination -> base units, of everybody who is paid."""
        ...

    def is_relayed(self, old: Plan, new: Plan) -> bool:
        """Whether nodes take the one in place of the other, by the family's published rule."""
        ...

    def rate_bounds(self, chain: ConnectedChain) -> tuple[int, int]:
        """The settings' floor and cap of every bid."""
        ...

    async def rivals(self, net: Net, address: str, amount: str) -> tuple[Signed, Signed]:
        """Two transactions for the same resources. The first pays the address and is with every node; the other
        pays somebody else, and offers too little to replace it.
        """
        ...


def offline(family: Family) -> ConnectedChain:
    """The family's chain as the example has it, with the test mnemonic's keys. Nothing is ever asked of its nodes."""
    chain = load_settings(EXAMPLE).chains[family.chain]
    wallet = type(chain.wallet).model_validate(
        chain.wallet.model_dump()
        | {key: _XPUBS[key] for key in type(chain.wallet).model_fields if key in _XPUBS}
    )
    return connect(family.chain, chain.model_copy(update={"wallet": wallet, "cold": None}))


def online(family: Family, net: Net) -> ConnectedChain:
    """The family's chain on the devnet, through the fault proxies."""
    return connect(family.chain, load_settings(net.settings_file).chains[family.chain])


class Bitcoin:
    chain, decimals = "bitcoin", 8
    foreign_addresses: Sequence[str] = (
        "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
        "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    )

    def theirs(self, scheme: int, branch: int, index: int) -> str:
        root = bip32.HDKey.from_seed(seed_from_mnemonic(MNEMONIC, ""))
        key = root.derive(f"m/{scheme}h/0h/0h/{branch}/{index}")
        make = script.p2wpkh if scheme == 84 else script.p2tr
        return str(make(key).address(NETWORKS["main"]))

    def new_destination(self) -> tuple[str, bytes]:
        destination = b"\x00\x14" + secrets.token_bytes(20)
        return str(bitcoin_address(destination, "regtest")), destination

    def planned(self, chain: ConnectedChain, recipients: Sequence[Recipient], bid: Bid) -> Plan:
        """From coins that are more than enough, whatever is bid and bid again."""
        assert isinstance(chain.planner, BitcoinPlanner)
        derive = chain.keys[84].derive
        coins = [
            Coin(bytes([index]) * 32 + bytes(4), BaseUnits(10**10), destination, (84, 0, index))
            for index, destination, _ in derive(0, 0, 5)
        ]
        [(index, destination, _)] = derive(1, 3, 1)
        change = Coin(b"", BaseUnits(0), destination, (84, 1, index))
        plan = chain.planner.plan(coins, recipients, [change], bid, seed=7)
        assert not isinstance(plan, Insufficient)
        return plan

    def paid(self, plan: Plan) -> Mapping[bytes, int]:
        assert isinstance(plan, BitcoinPlan)
        outputs = plan.transaction.outputs
        return {outputs[place].script: outputs[place].amount for place in plan.positions}

    def is_relayed(self, old: Plan, new: Plan) -> bool:
        """BIP125, rules 3 and 4: the old one's fee, and a satoshi for each of its own virtual bytes."""
        return new.fee >= old.fee + new.size

    def rate_bounds(self, chain: ConnectedChain) -> tuple[int, int]:
        assert isinstance(chain.settings, BitcoinSettings)
        return chain.settings.fees.floor_sat_vb * 1000, chain.settings.fees.cap_sat_vb * 1000

    async def rivals(self, net: Net, address: str, amount: str) -> tuple[Signed, Signed]:
        name = await net.send(address, amount, fee_rate="20")
        rival = await net.double_spend(name, fee_rate="2", broadcast=False)
        rpc = net.bitcoin[0].rpc
        first = await rpc("getrawtransaction", name, True)
        resources = tuple(
            bytes.fromhex(spent["txid"]) + spent["vout"].to_bytes(4, "big") for spent in first["vin"]
        )
        return (
            Signed(bytes.fromhex(name), bytes.fromhex(first["hex"]), resources),
            Signed(bytes.fromhex(rival["tx_hash"]), bytes.fromhex(rival["raw"]), resources),
        )


class Ethereum:
    chain, decimals = "ethereum", 18
    foreign_addresses: Sequence[str] = (
        "0x0000000000000000000000000000000000000000",
        "0xdAC17F958D2ee523a2206206994597C13D831ec7",
        "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
    )

    def theirs(self, scheme: int, branch: int, index: int) -> str:
        assert scheme == 44
        path = f"{ETHEREUM_DEFAULT_PATH.removesuffix('/0/0')}/{branch}/{index}"
        return str(Account.from_key(eth_account_key(seed_from_mnemonic(MNEMONIC, ""), path)).address)

    def new_destination(self) -> tuple[str, bytes]:
        destination = secrets.token_bytes(20)
        return ethereum_address(destination), destination

    def planned(self, chain: ConnectedChain, recipients: Sequence[Recipient], bid: Bid) -> Plan:
        assert isinstance(chain.planner, EthereumPlanner) and chain.vault is not None
        return chain.planner.pay(Sender(chain.vault, (44, 1, 0), 7), "ETH", recipients, bid)

    def paid(self, plan: Plan) -> Mapping[bytes, int]:
        assert isinstance(plan, EthereumPlan)
        t = plan.transaction
        if not t.data:
            return {t.to: t.value}
        call = read_call(t.data)
        assert isinstance(call, PayNative)
        return dict(zip(call.recipients, call.amounts, strict=True))

    def is_relayed(self, old: Plan, new: Plan) -> bool:
        """The strictest of the nodes' rules: an eighth more of both fees (Nethermind; geth asks for a tenth)."""
        assert isinstance(old, EthereumPlan) and isinstance(new, EthereumPlan)
        before, after = old.transaction, new.transaction
        return 8 * after.max_fee >= 9 * before.max_fee and 8 * after.tip >= 9 * before.tip

    def rate_bounds(self, chain: ConnectedChain) -> tuple[int, int]:
        assert isinstance(chain.settings, EthereumSettings)
        fees = chain.settings.fees
        return int(fees.tip_floor_gwei * 10**9), int(fees.cap_gwei * 10**9)

    async def rivals(self, net: Net, address: str, amount: str) -> tuple[Signed, Signed]:
        key = Account.from_key(secrets.token_bytes(32))
        await net.send(str(key.address), str(Decimal(amount) + 1), chain=self.chain)
        await net.mine(chain=self.chain)
        made = []
        for to, tip in ((address, 2 * 10**9), (self.new_destination()[0], 10**9)):
            fields = {
                "type": 2,
                "chainId": net.evm[self.chain].chain_id,
                "nonce": 0,
                "maxFeePerGas": 50 * tip,
                "maxPriorityFeePerGas": tip,
                "gas": 21_000,
                "to": to,
                "value": int(Decimal(amount).scaleb(self.decimals)),
            }
            signed = key.sign_transaction(fields)
            resources = (bytes.fromhex(key.address[2:]) + bytes(8),)
            made.append(Signed(bytes(signed.hash), bytes(signed.raw_transaction), resources))
        await net.broadcast("0x" + made[0].raw.hex(), chain=self.chain)
        return made[0], made[1]


FAMILIES: Sequence[Family] = (Bitcoin(), Ethereum())
