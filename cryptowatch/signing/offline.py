"""Signs a refill on a machine without network, after reading out of it whom it pays and what it costs. No I/O.

Called by `wallet sign-offline`. Keeps P9: nothing that the daemon says is believed. Amounts are those of the
transactions that created the coins, whose hashes the inputs name; change is what this keystore's own key can spend.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from embit import psbt as embit_psbt

from cryptowatch.chains.bitcoin.address import Network, address_of
from cryptowatch.chains.bitcoin.psbt import NotPsbt, read_psbt
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction
from cryptowatch.chains.ethereum.address import address_of as account_address
from cryptowatch.chains.ethereum.cold import read_unsigned
from cryptowatch.chains.ethereum.our_calls import TransferToken, read_call
from cryptowatch.chains.ethereum.transaction import InvalidTransaction
from cryptowatch.chains.ethereum.transaction import UnsignedTransaction as AccountTransaction
from cryptowatch.chains.plans import ColdFormatName
from cryptowatch.errors import OperatorError
from cryptowatch.money import BaseUnits, format_amount
from cryptowatch.signing import bitcoin, ethereum
from cryptowatch.signing.keys import AccountKeys, SigningKey
from cryptowatch.signing.messages import KeyPath

#: Where a cold account's key is looked for: so many of each branch.
_ACCOUNTS_SEARCHED = 50
_BITCOIN_DECIMALS, _ETHER_DECIMALS = 8, 18


class NotSigned(OperatorError):
    """The file cannot be read, or is not what it should be; nothing was signed."""


class RefillFile(msgspec.Struct, frozen=True):
    """What GET /v1/rebalances/{id}/unsigned answers."""

    id: str
    chain: str
    network: str
    format: ColdFormatName
    unsigned: str


@dataclass(frozen=True, slots=True)
class Refill:
    """What would be signed, in words, and how. Amounts are text in whole coins, of a token in its smallest units."""

    pays: str
    amount: str
    change: str
    fee: int
    fee_text: str
    details: tuple[str, ...]
    #: Gives the signed transaction in hex.
    sign: Callable[[], str]


def read_file(text: bytes) -> RefillFile:
    """Raises NotSigned."""
    try:
        return msgspec.json.decode(text, type=RefillFile)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise NotSigned(f"the file is no answer of GET …/unsigned: {problem}") from problem


def read_refill(file: RefillFile, accounts: AccountKeys) -> Refill:
    """Raises NotSigned for what this keystore cannot or must not sign."""
    if file.format == "call":
        raise NotSigned("the money is in a contract: its owners sign in their own program")
    if file.format == "psbt":
        return _read_psbt(file, accounts)
    return _read_transaction(file, accounts)


def _read_psbt(file: RefillFile, accounts: AccountKeys) -> Refill:
    try:
        psbt = read_psbt(file.unsigned)
        # Each amount by the transaction that created the coin: a witness alone could tell any.
        psbt.verify()
    except (NotPsbt, embit_psbt.PSBTError) as problem:
        raise NotSigned(f"not a PSBT that proves what it spends: {problem}") from problem
    keys, inputs, claimed = [], [], psbt.tx
    for place, (scope, vin) in enumerate(zip(psbt.inputs, claimed.vin, strict=True)):
        if scope.vout >= len(scope.non_witness_utxo.vout):
            raise NotSigned(f"input {place} spends an output that there is not")
        spent = scope.non_witness_utxo.vout[scope.vout]
        key = _own_key(scope, bytes(spent.script_pubkey.data), accounts)
        if key is None:
            raise NotSigned(f"input {place} does not belong to this keystore")
        keys.append(key)
        inputs.append(TxInput(scope.txid, scope.vout, BaseUnits(spent.value), key.script, vin.sequence))
    outputs, payments, change = [], [], 0
    for scope, output in zip(psbt.outputs, claimed.vout, strict=True):
        script = bytes(output.script_pubkey.data)
        outputs.append(TxOutput(script, BaseUnits(output.value)))
        if _own_key(scope, script, accounts) is None:
            payments.append((script, output.value))
        else:
            change += output.value
    transaction = UnsignedTransaction(tuple(inputs), tuple(outputs), claimed.locktime, claimed.version)
    if len(payments) != 1:
        raise NotSigned(f"a refill pays one address; this pays {len(payments)} that are not the keystore's")
    [(script, amount)] = payments
    return Refill(
        pays=address_of(script, _network(file.network)) or f"the script {script.hex()}",
        amount=format_amount(amount, _BITCOIN_DECIMALS),
        change=format_amount(change, _BITCOIN_DECIMALS),
        fee=transaction.fee,
        fee_text=format_amount(transaction.fee, _BITCOIN_DECIMALS),
        details=(f"{len(inputs)} inputs", f"transaction {transaction.txid.hex()}"),
        sign=lambda: bitcoin.sign(transaction, keys).hex(),
    )


def _network(name: str) -> Network:
    """Raises NotSigned."""
    try:
        known: Network = msgspec.convert(name, Network)
    except msgspec.ValidationError:
        raise NotSigned(f"there is no network {name[:20]!r}") from None
    return known


def _own_key(scope: embit_psbt.PSBTScope, script: bytes, accounts: AccountKeys) -> SigningKey | None:
    """The keystore's key at a path that the PSBT claims, if it is the script's."""
    for derivation in scope.bip32_derivations.values():
        if len(derivation.derivation) != 5:
            continue
        branch, index = derivation.derivation[-2:]
        if branch not in (0, 1) or index >= 1 << 31:
            continue
        key = accounts.key(KeyPath("bip84", 1 if branch else 0, index))
        if key.script == script:
            return key
    return None


def _read_transaction(file: RefillFile, accounts: AccountKeys) -> Refill:
    try:
        account, transaction = read_unsigned(file.unsigned)
    except InvalidTransaction as problem:
        raise NotSigned(str(problem)) from problem
    key = _account_key(account, accounts)
    pays, amount = _paid(transaction)
    return Refill(
        pays=pays,
        amount=amount,
        change="0",
        fee=transaction.fee_max,
        fee_text=format_amount(transaction.fee_max, _ETHER_DECIMALS),
        details=(f"from {account}, nonce {transaction.nonce}", f"chain id {transaction.chain_id}"),
        sign=lambda: "0x" + ethereum.sign(transaction, ethereum.EthereumKeys(key, True, ()))[1].hex(),
    )


def _paid(transaction: AccountTransaction) -> tuple[str, str]:
    """(to whom, how much). Raises NotSigned for what is no plain payment."""
    if transaction.authorizations:
        raise NotSigned("it lets somebody else act for the account")
    if not transaction.data:
        return account_address(transaction.to), format_amount(transaction.value, _ETHER_DECIMALS)
    call = read_call(transaction.data)
    if not isinstance(call, TransferToken) or transaction.value:
        raise NotSigned("it is no plain payment of coins or of a token")
    units = f"{call.amount} smallest units of the token {account_address(transaction.to)}"
    return account_address(call.recipient), units


def _account_key(account: str, accounts: AccountKeys) -> SigningKey:
    wanted = bytes.fromhex(account.removeprefix("0x"))
    for index in range(_ACCOUNTS_SEARCHED):
        for path in (KeyPath("bip44", 0, index), KeyPath("bip44", 1, index)):
            key = accounts.key(path)
            if key.script == wanted:
                return key
    raise NotSigned(f"{account} is not among this keystore's first {_ACCOUNTS_SEARCHED} accounts")
