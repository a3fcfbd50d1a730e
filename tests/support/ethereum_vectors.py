"""Published answers of real Ethereum nodes, each with its source. What no rule of ours reads is left out."""

from typing import Any

NO_BLOOM = "0x" + "00" * 256
NO_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
EMPTY_ROOT = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
NULL = "0x" + "00" * 32
_MERGED: dict[str, Any] = {
    "difficulty": "0x0",
    "extraData": "0x",
    "miner": "0x" + "00" * 20,
    "mixHash": NULL,
    "nonce": "0x" + "00" * 8,
    "sha3Uncles": NO_UNCLES,
    "blobGasUsed": "0x0",
    "excessBlobGas": "0x0",
    "transactions": [],
}

#: Mainnet's block 1, as every explorer shows it.
FRONTIER = {
    "hash": "0x88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6",
    "parentHash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
    "sha3Uncles": NO_UNCLES,
    "miner": "0x05a56e2d52c817161883f50c441c3228cfe54d9f",
    "stateRoot": "0xd67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3",
    "transactionsRoot": EMPTY_ROOT,
    "receiptsRoot": EMPTY_ROOT,
    "logsBloom": NO_BLOOM,
    "difficulty": "0x3ff800000",
    "number": "0x1",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x55ba4224",
    "extraData": "0x476574682f76312e302e302f6c696e75782f676f312e342e32",
    "mixHash": "0x969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59",
    "nonce": "0x539bd4979fef1ec4",
    "transactions": [],
}

#: Mainnet's block 9,666,670 (Istanbul), as every explorer shows it.
ISTANBUL = {
    "hash": "0x4eaded4dc5a10bcd0b758f984741aea4498aee0b89f2522787c27289ea9703f5",
    "parentHash": "0x5eccf3a95d2ae352a05ced7de02b6b41b99a780c680af67162f7673b9bc9a00f",
    "sha3Uncles": NO_UNCLES,
    "miner": "0x829bd824b016326a401d083b33d092293333a830",
    "stateRoot": "0x266ccf1a04285b6fe626f3b2b49613893132c5b807d80ac860a470a742a2ae5c",
    "transactionsRoot": "0xb8a7a9f3b4c9ad1a686f7dfbde2c69e3a25bdc2155db18707ae16ffe4d93c7f7",
    "receiptsRoot": "0x02397d6c66bd6bb3ba7fd7b090c0a4ae716b641c6fdb47b607db17b73b7be24a",
    "logsBloom": (
        "0x000000210040801800a004400200000001008188100080000020800115082182800010008000100820404842920401810148"
        "020010000441a5800044000080000800040001010810000000d800301080000e0000008020101040c000000008000070200"
        "00024000129004800101200080010122000000a8001000058080080021804c010404003010c8000140891402c800060700"
        "c014050034228002010a26401000084004000040600008040c001028008842808000200100402401880b00824000023001"
        "0460000c00024d40002080400040188c9400404000018001020010000000110200001040800803000200428010002800028"
        "002000100108900000"
    ),
    "difficulty": "0x7dc19ab85444d",
    "number": "0x93806e",
    "gasLimit": "0x986fad",
    "gasUsed": "0x2c91b9",
    "timestamp": "0x5e6c35d5",
    "extraData": "0x7070796520e4b883e5bda9e7a59ee4bb99e9b1bc",
    "mixHash": "0xb24fd6b4816925d12eba78fd50a72bd44920ff17d8c5c0674f33c0dea3e0b17b",
    "nonce": "0x2207b3b00a17fd68",
    "transactions": [],
}

# The rest: ethereum/execution-apis (CC0), tests/, the answers of geth that all other nodes are compared with.
_SENDER = "0x7435ed30a8b4aeb0877cef0c6e8cffe834eb865f"
_CHAIN_ID = "0xc72dd9d5e883e"
_TRANSFER = {"from": _SENDER, "gas": "0x5208", "gasPrice": "0x44103f3", "input": "0x", "value": "0x1"}

#: tests/eth_getBlockByNumber/get-latest.io at commit 0236776, a whole block: types 2, 1 and 0.
CANCUN = _MERGED | {
    "baseFeePerGas": "0x44103f2",
    "gasLimit": "0x23f3e20",
    "gasUsed": "0xf618",
    "hash": "0x8f64c4436f7213cfdf02cfb9f45d012f1774dfb329b8803de5e7479b11586902",
    "logsBloom": NO_BLOOM,
    "number": "0x14",
    "parentBeaconBlockRoot": "0x3cc9f65fc1f46927eb46fbf6d14bc94af078fe8ff982a984bdd117152cd1549f",
    "parentHash": "0x1963d4b2e19fb79daf720655b4af341c04a43b36da95f71f5e0943351c8728a3",
    "receiptsRoot": "0x4b7fefa97a453e0ee0cea1d51ca4ab3729f3a2a6a8388a5a3b13765eec3720b7",
    "stateRoot": "0x5ecd3199a7bbfd931736b92d5447d80610c6eaff932819eb3e2379d1d931f972",
    "timestamp": "0xc8",
    "transactionsRoot": "0x629794cb0634ec45415a05e987695425dab3c44f90243ff3ecd5b58184534828",
    "withdrawalsRoot": "0xaf7e8178225d047b7373d37459e9cb4060b8875bd0286059d211df82ec5d84ee",
    "transactions": [
        _TRANSFER
        | {
            "maxFeePerGas": "0x44103f3",
            "maxPriorityFeePerGas": "0x1",
            "hash": "0x523c9eee4fbad0c69269e9cf5191e87328b85da67a93a2927eca72f52b839acf",
            "nonce": "0x46",
            "to": "0x16c57edf7fa9d9525378b0b81bf8a3ced0620c1c",
            "type": "0x2",
            "accessList": [],
            "chainId": _CHAIN_ID,
            "v": "0x0",
            "r": "0x64f0ece3d8eea54fac19daedeae5ed4a559f66b989015e69b36e0a844307b5e9",
            "s": "0x3e404d94bf706390fa00f763067b8d1f48563b0e0fc7361d57450bc2302e72d0",
            "yParity": "0x0",
        },
        _TRANSFER
        | {
            "hash": "0x89ac54352b14d3ab8d206c9c77f7081630ce2f06c9afeef6febc6c773594bf2b",
            "nonce": "0x47",
            "to": "0x717f8aa2b982bee0e29f573d31df288663e1ce16",
            "type": "0x1",
            "accessList": [],
            "chainId": _CHAIN_ID,
            "v": "0x0",
            "r": "0xe3297ee465ad6ee50321a9bb059c3ff841024497231058ff5c18dda83f9ce65e",
            "s": "0x13ee45d648b994ff511c6816bbc308dffffb637f0538db986362454da37f639e",
            "yParity": "0x0",
        },
        _TRANSFER
        | {
            "hash": "0xcc1e8ab47dc46bee11fe02aaa3954dc62f5eeeef4e785868f652bde0d7727486",
            "nonce": "0x48",
            "to": "0x4a0f1452281bcec5bd90c3dce6162a5995bfe9df",
            "type": "0x0",
            "chainId": _CHAIN_ID,
            "v": "0x18e5bb3abd109f",
            "r": "0xce46e3b261be5befaccaba0eb6c85ccecd898a911158f65557dc049500462f03",
            "s": "0x1cb579c2c1ed72242ee6bc4da514f09f518f72a8183dbe3233d10d60fd334b6a",
        },
    ],
}
#: tests/eth_getBlockReceipts/get-block-receipts-latest.io at the same commit.
CANCUN_RECEIPTS: list[dict[str, Any]] = [
    {"cumulativeGasUsed": gas, "logs": [], "logsBloom": NO_BLOOM, "status": "0x1"}
    for gas in ("0x5208", "0xa410", "0xf618")
]

#: tests/eth_getTransactionByHash/get-access-list.io
ACCESS_LIST = {
    "from": _SENDER,
    "gas": "0x186a0",
    "gasPrice": "0x1",
    "hash": "0xd82374da698cfacbf4bb58d7ab8444621517e2137c08b859c66e50e8927c7af6",
    "input": "0x0e394e7c8a2b32c9656d6974",
    "nonce": "0x4e",
    "to": "0x7dcd17433742f4c0ca53122ab541d0ba67fc27df",
    "value": "0x2",
    "type": "0x1",
    "accessList": [
        {
            "address": "0x7dcd17433742f4c0ca53122ab541d0ba67fc27df",
            "storageKeys": [NULL, "0x95104e47e1982aba633477f377b1511396c3fe83600224bcb0c78949be705b33"],
        }
    ],
    "chainId": _CHAIN_ID,
    "v": "0x1",
    "r": "0x6ecd9ea7e1958288a3a822eb9c22662c30a7696e364d5b219a164bafd9bc58d8",
    "s": "0x3fc5322f888fabe456b29bb2b0e829482d728500678627f564ee3aff184428c2",
    "yParity": "0x1",
}

#: tests/eth_getTransactionByHash/get-legacy-create.io
CREATION = {
    "from": _SENDER,
    "gas": "0x131ec",
    "gasPrice": "0x342770c1",
    "hash": "0xbdb37c763e721bf1a0e94e0bc72db704110b2ccc6720713708744422a2cc95d6",
    "input": (
        "0x600d380380600d6000396000f360004381526020014681526020014181526020014881526020014481526020013281526020"
        "013481526020016000f3"
    ),
    "nonce": "0x0",
    "to": None,
    "value": "0x0",
    "type": "0x0",
    "chainId": _CHAIN_ID,
    "v": "0x18e5bb3abd10a0",
    "r": "0xdf95c12446d276292221a19cca4f3e678f113a412bf3845bd85dc5bb5bd87def",
    "s": "0x523b1712e2f5a7b421f5740d32f51fd33a525026a21fd89770a55480ad28732",
}

#: tests/eth_getTransactionByHash/get-blob-tx.io
BLOBS = {
    "from": _SENDER,
    "gas": "0x186a0",
    "maxFeePerGas": "0x281d620e",
    "maxPriorityFeePerGas": "0x1",
    "maxFeePerBlobGas": "0x20000",
    "hash": "0xb0ebf0d8fca6724d5111d0be9ac61f0e7bf174208e0fafcb653f337c72465b83",
    "input": "0xdc4c8669df128318656d6974",
    "nonce": "0x8",
    "to": "0x7dcd17433742f4c0ca53122ab541d0ba67fc27df",
    "value": "0x3",
    "type": "0x3",
    "accessList": [
        {
            "address": "0x7dcd17433742f4c0ca53122ab541d0ba67fc27df",
            "storageKeys": [NULL, "0x462708a3c1cd03b21605715d090136df64e227f7e7792f74bb1bd7a8288f8801"],
        }
    ],
    "chainId": _CHAIN_ID,
    "blobVersionedHashes": ["0x015a4cab4911426699ed34483de6640cf55a568afc5c5edffdcbd8bcd4452f68"],
    "v": "0x0",
    "r": "0x478385a47075dd6ba56300b623038052a6e4bb03f8cfc53f367712f1c1d3e7de",
    "s": "0x2f79ed9b154b0af2c97ddfc1f4f76e6c17725713b6d44ea922ca4c6bbc20775c",
    "yParity": "0x0",
}

#: tests/eth_getTransactionByHash/get-setcode-tx.io
DELEGATION = {
    "from": _SENDER,
    "gas": "0xb3b0",
    "maxFeePerGas": "0x56a6c99",
    "maxPriorityFeePerGas": "0x1",
    "hash": "0x52936c0771a21d9835c6948bc04f7cb42bb5d4cbd88e4a31abd2673511173c68",
    "input": "0x",
    "nonce": "0x9b",
    "to": "0x" + "00" * 20,
    "value": "0x0",
    "type": "0x4",
    "accessList": [],
    "chainId": _CHAIN_ID,
    "authorizationList": [
        {
            "chainId": _CHAIN_ID,
            "address": "0x58f8fe237b593c19546e1e758a2544561d04bfe0",
            "nonce": "0x0",
            "yParity": "0x1",
            "r": "0xec6caeb1b7071f1b3ae36aeaa7bf0eaecb8e006e83b3e50d792870ea95af4c59",
            "s": "0x1d1225f76d6faac3d904c0635193e83d3867c101b2e6f6c9bb7b1fdeeed923ab",
        }
    ],
    "v": "0x0",
    "r": "0xbf57deff928f4f83c5b92e010248d56d2ae2d8211457edba656373b7713ff023",
    "s": "0x39bca6db7b6eb369f77068a9bff27ffaf88ade3ae1534d6c6d660e478087d1fe",
    "yParity": "0x0",
}
