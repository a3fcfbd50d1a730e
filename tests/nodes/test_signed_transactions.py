"""A real bitcoind accepts what the signer signs: P2WPKH and P2TR, a hundred inputs, a replacement (P3)."""

import time
from decimal import Decimal
from pathlib import Path

from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.chains.bitcoin.transaction import (
    TxInput,
    TxOutput,
    UnsignedTransaction,
    read_transaction,
    to_json,
)
from cryptowatch.clock import SystemClock
from cryptowatch.devnet.client import Net
from cryptowatch.money import BaseUnits
from cryptowatch.signing.messages import KeyPath, SignBitcoin, Signed
from cryptowatch.signing.policy import Limits
from cryptowatch.signing.service import CoinChain, SigningService
from tests.support.wallet import ACCOUNTS

COINS = 100
COIN_SAT = 100_000
FEE_SAT = 30_000
LIMITS = Limits(
    transaction_amount_max=10**9,
    hourly_amount_max=10**9,
    hourly_signings_max=10,
    fee_max=10**6,
    fee_rate_max_sat_vb=100,
    inputs_max=200,
    outputs_max=200,
)
PATHS = [KeyPath("bip84" if n % 2 else "bip86", 0, n) for n in range(COINS)]
CHANGE_PATH = KeyPath("bip84", 1, 0)


async def funded_inputs(net: Net) -> tuple[TxInput, ...]:
    """A confirmed coin of each path's key, from the faucet."""
    scripts = [ACCOUNTS.key(path).script for path in PATHS]
    addresses = [address_of(script, "regtest") or "" for script in scripts]
    funding_hash = await net.send_many(dict.fromkeys(addresses, str(Decimal(COIN_SAT).scaleb(-8))))
    await net.mine(1)
    funding = read_transaction(bytes.fromhex(await net.bitcoin[0].rpc("getrawtransaction", funding_hash)))
    places = {output.script: n for n, output in enumerate(funding.outputs)}
    return tuple(TxInput(funding.txid, places[script], BaseUnits(COIN_SAT), script) for script in scripts)


def paying(inputs: tuple[TxInput, ...], fee_sat: int) -> UnsignedTransaction:
    """99 payments to others and one change output, all different."""
    payments = [
        TxOutput(b"\x00\x14" + n.to_bytes(20, "big"), BaseUnits(90_000 + n)) for n in range(COINS - 1)
    ]
    left = sum(coin.amount for coin in inputs) - sum(payment.amount for payment in payments) - fee_sat
    return UnsignedTransaction(
        inputs, (*payments, TxOutput(ACCOUNTS.key(CHANGE_PATH).script, BaseUnits(left)))
    )


def signed(service: SigningService, transaction: UnsignedTransaction) -> bytes:
    answer = service.sign(
        SignBitcoin(
            chain="btc",
            lineage_id="L",
            transaction=to_json(transaction),
            input_paths=PATHS,
            change_paths={COINS - 1: CHANGE_PATH},
        )
    )
    assert isinstance(answer, Signed), answer
    return bytes.fromhex(answer.raw_hex)


async def test_a_node_accepts_a_hundred_signed_inputs_and_their_replacement(net: Net, tmp_path: Path) -> None:
    node = net.bitcoin[0]
    inputs = await funded_inputs(net)
    service = SigningService({"btc": CoinChain(ACCOUNTS, LIMITS, "BTC")}, tmp_path / "log", SystemClock())
    try:
        first, bumped = paying(inputs, FEE_SAT), paying(inputs, 2 * FEE_SAT)
        started_s = time.perf_counter()
        raw = signed(service, first)
        print(f"signer, 100 inputs, log included: {(time.perf_counter() - started_s) * 1000:.1f} ms")
        (verdict,) = await node.rpc("testmempoolaccept", [raw.hex()])
        assert verdict["allowed"], verdict
        assert verdict["txid"] == first.txid.hex()
        assert verdict["vsize"] == read_transaction(raw).vsize
        # One bit of one signature: the last byte of the last witness is of a P2WPKH key.
        broken = raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:]
        (verdict,) = await node.rpc("testmempoolaccept", [broken.hex()])
        assert not verdict["allowed"]
        await net.broadcast(raw.hex())
        assert await net.broadcast(signed(service, bumped).hex()) == bumped.txid.hex()
        await net.mine(1)
        mined = await node.rpc("getrawtransaction", bumped.txid.hex(), True)
        assert mined["confirmations"] == 1
        left = sum(output.amount for output in bumped.outputs[:-1]) + 2 * FEE_SAT
        assert service.status().hourly_amounts["btc"] == {"BTC": str(left)}
    finally:
        service.close()
