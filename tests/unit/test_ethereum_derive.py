"""Derivation: the accounts that every wallet makes of the known mnemonic, and the same as eth-account makes."""

import pytest
from embit import bip32, bip39
from embit.networks import NETWORKS
from eth_account import Account
from eth_account.hdaccount import key_from_seed

from cryptowatch.chains.bip32 import InvalidExtendedKey
from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.chains.ethereum.derive import derive_accounts, parse_extended_key

#: The mnemonic of Hardhat and anvil, and the first of the accounts that their documentation lists.
MNEMONIC = "test test test test test test test test test test test junk"
KNOWN = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
]
SEED = bip39.mnemonic_to_seed(MNEMONIC)


def extended(path: str, network: str = "main", version: str = "xpub") -> str:
    key = bip32.HDKey.from_seed(SEED).derive(path)
    return str((key if "prv" in version else key.to_public()).to_string(NETWORKS[network][version]))


XPUB = extended("m/44h/60h/0h")


def test_the_known_mnemonic_gives_the_known_accounts() -> None:
    accounts = derive_accounts(parse_extended_key(XPUB), 0, range(3))
    assert [(index, address_of(account)) for index, account in accounts] == list(enumerate(KNOWN))


@pytest.mark.parametrize("branch", [0, 1])
def test_eth_account_derives_the_same_accounts(branch: int) -> None:
    theirs = [
        Account.from_key(key_from_seed(SEED, f"m/44'/60'/0'/{branch}/{index}")).address for index in range(20)
    ]
    ours = derive_accounts(parse_extended_key(XPUB), branch, range(20))
    assert [address_of(account) for _, account in ours] == theirs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (extended("m/44h/60h/0h", "regtest"), "not an xpub"),
        (extended("m/44h/60h/0h", version="zpub"), "not an xpub"),
        (extended("m/44h/60h/0h", version="xprv"), "private key"),
        (XPUB[:-1], "checksum"),
        ("", "not"),
    ],
)
def test_what_is_no_xpub_is_refused_without_being_repeated(text: str, why: str) -> None:
    with pytest.raises(InvalidExtendedKey, match=why) as refusal:
        parse_extended_key(text)
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize("index", [-1, 1 << 31])
def test_an_index_out_of_range_is_an_error_of_ours(index: int) -> None:
    with pytest.raises(ValueError, match="2\\^31"):
        derive_accounts(parse_extended_key(XPUB), 0, [index])
