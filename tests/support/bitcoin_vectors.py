"""Published test vectors for Bitcoin transactions: BIP143 and BIP341. Their sources stand beside them."""

from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction, read_transaction
from cryptowatch.money import BaseUnits

# BIP143, "Native P2WPKH": input 0 is P2PK (not ours), input 1 is P2WPKH.
BIP143_UNSIGNED = UnsignedTransaction(
    inputs=(
        TxInput(
            bytes.fromhex("9f96ade4b41d5433f4eda31e1738ec2b36f6e7d1420d94a6af99801a88f7f7ff"),
            0,
            BaseUnits(625_000_000),
            bytes.fromhex("2103c9f4836b9a4f77fc0d81f7bcb01b7f1b35916864b9476c241ce9fc198bd25432ac"),
            0xFFFFFFEE,
        ),
        TxInput(
            bytes.fromhex("8ac60eb9575db5b2d987e29f301b5b819ea83a5c6579d282d189cc04b8e151ef"),
            1,
            BaseUnits(600_000_000),
            bytes.fromhex("00141d0f172a0ecb48aee1be1f2687d2963ae33f71a1"),
            0xFFFFFFFF,
        ),
    ),
    outputs=(
        TxOutput(bytes.fromhex("76a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac"), BaseUnits(112_340_000)),
        TxOutput(bytes.fromhex("76a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac"), BaseUnits(223_450_000)),
    ),
    locktime=17,
    version=1,
)
BIP143_UNSIGNED_RAW = (
    "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182"
    "d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f"
    "85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
)
BIP143_SIGNED_RAW = (
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26b"
    "a6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecba"
    "b4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202c"
    "b206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2"
    "d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a95"
    "4c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253"
    "f62fc70f07aeee635711000000"
)

# bitcoin/bitcoin src/test/data/bip341_wallet_vectors.json, keyPathSpending[0] (the vectors of BIP341).
BIP341_UNSIGNED_RAW = (
    "02000000097de20cbff686da83a54981d2b9bab3586f4ca7e48f57f5b55963115f3b334e9c010000000000000000d7b7cab57b1393ace2"
    "d064f4d4a2cb8af6def61273e127517d44759b6dafdd990000000000fffffffff8e1f583384333689228c5d28eac13366be082dc574417"
    "60d957275419a418420000000000fffffffff0689180aa63b30cb162a73c6d2a38b7eeda2a83ece74310fda0843ad604853b0100000000"
    "feffffffaa5202bdf6d8ccd2ee0f0202afbbb7461d9264a25e5bfd3c5a52ee1239e0ba6c0000000000feffffff956149bdc66faa968eb2"
    "be2d2faa29718acbfe3941215893a2a3446d32acd050000000000000000000e664b9773b88c09c32cb70a2a3e4da0ced63b7ba3b22f848"
    "531bbb1d5d5f4c94010000000000000000e9aa6b8e6c9de67619e6a3924ae25696bb7b694bb677a632a74ef7eadfd4eabf0000000000ff"
    "ffffffa778eb6a263dc090464cd125c466b5a99667720b1c110468831d058aa1b82af10100000000ffffffff0200ca9a3b000000001976"
    "a91406afd46bcdfd22ef94ac122aa11f241244a37ecc88ac807840cb0000000020ac9a87f5594be208f8532db38cff670c450ed2fea8fc"
    "defcc9a663f78bab962b0065cd1d"
)
BIP341_COINS = (
    ("512053a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343", 420_000_000),
    ("5120147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3", 462_000_000),
    ("76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", 294_000_000),
    ("5120e4d810fd50586274face62b8a807eb9719cef49c04177cc6b76a9a4251d5450e", 504_000_000),
    ("512091b64d5324723a985170e4dc5a0f84c041804f2cd12660fa5dec09fc21783605", 630_000_000),
    ("00147dd65592d0ab2fe0d0257d571abf032cd9db93dc", 378_000_000),
    ("512075169f4001aa68f15bbed28b218df1d0a62cbbcf1188c6665110c293c907b831", 672_000_000),
    ("5120712447206d7a5238acc7ff53fbe94a3b64539ad291c7cdbc490b7577e4b17df5", 546_000_000),
    ("512077e30a5522dd9f894c3f8b8bd4c4b2cf82ca7da8a3ea6a239655c39c050ab220", 588_000_000),
)


def bip341_unsigned() -> UnsignedTransaction:
    read = read_transaction(bytes.fromhex(BIP341_UNSIGNED_RAW))
    inputs = tuple(
        TxInput(coin.prev_hash, coin.prev_index, BaseUnits(amount), bytes.fromhex(script), coin.sequence)
        for coin, (script, amount) in zip(read.inputs, BIP341_COINS, strict=True)
    )
    return UnsignedTransaction(inputs, read.outputs, read.locktime, read.version)
