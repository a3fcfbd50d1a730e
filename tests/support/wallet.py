"""A wallet with a public test mnemonic, and transactions of it, for tests of signing and sending."""

from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction
from cryptowatch.money import BaseUnits
from cryptowatch.signing.keys import accounts_from_mnemonic
from cryptowatch.signing.messages import KeyPath, Scheme

#: The mnemonic of the vectors of BIP84 and BIP86. Its main network accounts serve the tests.
MNEMONIC = "abandon " * 11 + "about"
ACCOUNTS = accounts_from_mnemonic(MNEMONIC, "main")
#: Of nobody: OP_1 and 32 bytes.
FOREIGN_SCRIPT = b"\x51\x20" + b"\x07" * 32


def build(
    coins: tuple[int, ...] = (100_000,),
    pays: tuple[int, ...] = (60_000,),
    change: tuple[int, ...] = (39_000,),
    scheme: Scheme = "bip84",
    salt: int = 0,
) -> tuple[UnsignedTransaction, list[KeyPath], dict[int, KeyPath]]:
    """(transaction, its input paths, its change paths). Coin n of one salt is always the same coin."""
    paths = [KeyPath(scheme, 0, n) for n in range(len(coins))]
    inputs = tuple(
        TxInput(bytes([salt]) * 32, path.index, BaseUnits(amount), ACCOUNTS.key(path).script)
        for path, amount in zip(paths, coins, strict=True)
    )
    change_paths = {len(pays) + n: KeyPath("bip84", 1, n) for n in range(len(change))}
    outputs = tuple(TxOutput(FOREIGN_SCRIPT, BaseUnits(amount)) for amount in pays) + tuple(
        TxOutput(ACCOUNTS.key(path).script, BaseUnits(amount))
        for path, amount in zip(change_paths.values(), change, strict=True)
    )
    return UnsignedTransaction(inputs, outputs), paths, change_paths
