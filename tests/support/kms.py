"""AWS KMS as moto plays it: a server of this machine that speaks its protocol and makes real signatures.

moto does not know the message type DIGEST and hashes what is a hash already; here it signs the digest, as KMS does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import boto3
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.chains.ethereum.keccak import keccak

REGION = "eu-central-1"
#: moto asks nobody who calls.
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class MadeKey:
    key_id: str
    address: str


@dataclass(frozen=True)
class FakeKms:
    """`client` is boto3's, as an operator's tools have it."""

    url: str
    client: Any

    def make_key(self, kind: str = "ECC_SECG_P256K1") -> MadeKey:
        key_id = self.client.create_key(KeySpec=kind, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        public = load_der_public_key(self.client.get_public_key(KeyId=key_id)["PublicKey"])
        if kind != "ECC_SECG_P256K1":
            return MadeKey(key_id, "")
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return MadeKey(key_id, address_of(keccak(point[1:])[12:]))

    @contextmanager
    def away(self) -> Iterator[None]:
        """It answers, and signs nothing."""
        with patch.object(ECDSAPrivateKey, "sign", side_effect=ValueError("away")):
            yield

    def settings(self, keys: list[MadeKey], **more: Any) -> dict[str, Any]:
        """As `signer.kms.CHAIN`."""
        return {
            "region": REGION,
            "keys": [key.key_id for key in keys],
            "endpoint_url": self.url,
            "timeout_s": 2,
            **more,
        }


def _sign_digest(key: Any, message: bytes, _signing_algorithm: str) -> bytes:
    """Raises ValueError for what is not 32 bytes."""
    signature: bytes = key.private_key.sign(message, ECDSA(Prehashed(SHA256())))
    return signature


@contextmanager
def fake_kms() -> Iterator[FakeKms]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with patch.dict(os.environ, _CREDENTIALS), patch.object(ECDSAPrivateKey, "sign", _sign_digest):
        server.start()
        try:
            host, port = server.get_host_and_port()
            url = f"http://{host}:{port}"
            yield FakeKms(url, boto3.client("kms", region_name=REGION, endpoint_url=url))
        finally:
            server.stop()
