"""Addresses: the published vectors of BIP173, BIP350 and BIP86; what is refused, and the reason given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.chains.bitcoin.address import Network, address_of, script_of
from cryptowatch.chains.port import InvalidAddress

#: (network, address, script): BIP173, BIP350, BIP86 and, in base58, Bitcoin Core's key_io_valid.json.
KNOWN: list[tuple[Network, str, str]] = [
    ("main", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (
        "testnet",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        "signet",
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "main",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
    (
        "main",
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c",
    ),
    ("main", "1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62i", "76a91465a16059864a2fdbc7c99a4723a8395bc6f188eb88ac"),
    ("main", "3CMNFxN1oHBc4R1EpboAL5yzHGgE611Xou", "a91474f209f6ea907e2ea48f74fae05782ae8a66525787"),
    ("testnet", "mo9ncXisMeAoXwqcV5EWuyncbmCcQN4rVs", "76a91453c0307d6851aa0ce7825ba883c6bd9ad242b48688ac"),
    ("regtest", "2N2JD6wb56AfK4tfmM6PwdVmoYk2dCKf4Br", "a9146349a418fc4578d10a372b54b45c280cc8c4382f87"),
]


def reason(text: str, network: Network = "main") -> str:
    answer = script_of(text, network)
    assert isinstance(answer, InvalidAddress), answer
    return answer.reason


@pytest.mark.parametrize(("network", "text", "script"), KNOWN)
def test_known_addresses_lead_to_their_scripts_and_back(network: Network, text: str, script: str) -> None:
    assert script_of(text, network) == bytes.fromhex(script)
    shown = text.lower() if text[:2].lower() in ("bc", "tb") else text
    assert address_of(bytes.fromhex(script), network) == shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an address"),
        (" 1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62i", "nothing else"),
        ("bitcoin:1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62i", "nothing else"),
        ("1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62j", "typing error"),
        ("1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW6", "typing error"),
        ("0x52908400098527886E0F7030069857D2E4169EE7", "not a Bitcoin address"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "checksum is wrong"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7Kv8f3t4", "both cases are mixed"),
        ("BC1SW50QGDZ25J", "witness version 16 is not in use"),
        ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "witness version 2 is not in use"),
        ("bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3x", "checksum is wrong"),
        ("BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "length or padding"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "other checksum"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "other checksum"),
        ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "checksum is wrong"),
        ("bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", "taproot"),
        ("bc1pfeessrawgf", "taproot"),
        (
            "xpub6CUGRUonZSQ4TWtTMmzXdrXDtypWKiKrhko4egpiMZbpiaQL2jkwSB1icqYh2cfDfVxdx4df189oLKnC5fSwqPfgyP3hooxujYzAu3fDVmz",
            "not an address",
        ),
        ("1" * 90, "not a Bitcoin address"),
        ("é" * 30, "nothing else"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    assert why in reason(text)


@pytest.mark.parametrize(
    ("text", "network", "named"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "regtest", "an address of main,"),
        ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "main", "an address of testnet or signet,"),
        ("mo9ncXisMeAoXwqcV5EWuyncbmCcQN4rVs", "main", "an address of testnet or signet or regtest,"),
        ("3CMNFxN1oHBc4R1EpboAL5yzHGgE611Xou", "signet", "an address of main,"),
    ],
)
def test_an_address_of_another_network_names_both_networks(text: str, network: Network, named: str) -> None:
    assert named in reason(text, network)
    assert reason(text, network).endswith(network)


def test_a_taproot_address_whose_key_does_not_exist_would_burn_the_money_and_is_refused() -> None:
    beyond_the_field = address_of(b"\x51\x20" + b"\xff" * 32, "main")
    assert beyond_the_field is not None
    assert "never be spent" in reason(beyond_the_field)


@pytest.mark.parametrize(
    "script", ["", "51", "6a0568656c6c6f", "0014" + "00" * 19, "5220" + "01" * 32, "51024e73"]
)
def test_a_script_without_an_address_has_none(script: str) -> None:
    assert address_of(bytes.fromhex(script), "main") is None


standard_scripts = st.one_of(
    st.binary(min_size=20, max_size=20).map(lambda h: b"\x00\x14" + h),
    st.binary(min_size=32, max_size=32).map(lambda h: b"\x00\x20" + h),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\x76\xa9\x14" + h + b"\x88\xac"),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\xa9\x14" + h + b"\x87"),
)
networks = st.sampled_from(["main", "testnet", "signet", "regtest"])


@given(standard_scripts, networks)
def test_every_standard_script_comes_back_from_its_address(script: bytes, network: Network) -> None:
    text = address_of(script, network)
    assert text is not None
    assert script_of(text, network) == script


@given(standard_scripts, networks, st.data())
def test_no_single_typing_error_leads_to_another_address(
    script: bytes, network: Network, data: st.DataObject
) -> None:
    text = address_of(script, network)
    assert text is not None
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("abcdefghjkmnpqrstuvwxyz0123456789"))
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        assert isinstance(script_of(changed, network), InvalidAddress)


@given(st.text(max_size=100), networks)
def test_any_text_gets_an_answer(text: str, network: Network) -> None:
    assert isinstance(script_of(text, network), bytes | InvalidAddress)
