"""Real blocks of 250 transactions with 5 token transfers each, on a real anvil."""

import hashlib
from dataclasses import dataclass
from typing import Any

from eth_account import Account

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.devnet import Net
from cryptowatch.devnet.ethereum.artifacts import contract

CHAIN = "ethereum"
TRANSACTIONS = 250
LOGS_EACH = 5
#: As many receive in a block; every 25th of them is ours.
HOLDERS = tuple(
    hashlib.sha256(b"holder %d" % number).digest()[:20] for number in range(TRANSACTIONS * LOGS_EACH)
)
OURS = HOLDERS[::25]
_MINT_MAX = 100


@dataclass(frozen=True)
class EvmBlock:
    height: int
    hash: bytes


async def build_blocks(net: Net, count: int) -> tuple[ChainFacts, list[EvmBlock]]:
    """(what is watched for, the blocks). The holders have something before, as most who are paid do."""
    chain = net.evm[CHAIN]
    token = chain.tokens["USDC"]
    sender = Account.from_key(net.ethereum_private_key)
    rpc = chain.nodes[0].rpc
    nonce = int(await rpc("eth_getTransactionCount", sender.address, "latest"), 16)

    async def mint(holders: tuple[bytes, ...], gas: int) -> None:
        nonlocal nonce
        wanted: dict[str, Any] = {
            "type": 2,
            "chainId": chain.chain_id,
            "nonce": nonce,
            "to": bytes.fromhex(token[2:]),
            "data": contract("StandardToken").call("mint", list(holders), 1_000_000),
            "gas": gas,
            "maxFeePerGas": 10**12,
            "maxPriorityFeePerGas": 10**9,
        }
        signed = sender.sign_transaction(wanted)
        await rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        nonce += 1

    for start in range(0, len(HOLDERS), _MINT_MAX):
        await mint(HOLDERS[start : start + _MINT_MAX], 5_000_000)
        await net.mine(chain=CHAIN)
    blocks = []
    for _ in range(count):
        for start in range(0, len(HOLDERS), LOGS_EACH):
            await mint(HOLDERS[start : start + LOGS_EACH], 110_000)
        (block_hash,) = await net.mine(chain=CHAIN)
        told = await rpc("eth_getBlockByNumber", "latest", False)
        assert len(told["transactions"]) == TRANSACTIONS, f"{len(told['transactions'])} transactions"
        blocks.append(EvmBlock(int(told["number"], 16), bytes.fromhex(block_hash)))
    tokens = {bytes.fromhex(token[2:]): Token("USDC")}
    return ChainFacts(chain_id=chain.chain_id, asset="ETH", tokens=tokens), blocks
