"""Keys that never leave AWS KMS (ECC_SECG_P256K1), for the accounts that send; the second backend beside `keystore`.

Opened by `signing.configure` where the settings name keys there. Keeps P9: the policy is asked first, as with keys of
our own; what KMS adds is that nobody can carry the key away. Signing again gives other bytes, since KMS draws its own
nonce: P3 then rests on the account's nonce alone, and the daemon sends the bytes that it committed first.

KMS gives ECDSA over a digest in DER, with either s and without a recovery id: s is made the lower one (EIP-2), and the
id is the one that leads back to the known key. Keys of players' deposits are derived, and so stay in the keystore: they
authorize sweeps to the vault, and nothing else.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from coincurve import PublicKey
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from cryptowatch.chains.ethereum.derive import account_of
from cryptowatch.errors import OperatorError
from cryptowatch.settings.signer import Kms
from cryptowatch.signing.wallet import KeysUnavailable

T = TypeVar("T")

#: The order of secp256k1's group (SEC 2).
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
#: Of each call: KMS throttles, and connections break.
_ATTEMPTS = 2
#: Opening reads botocore's descriptions from the disk, and asks nobody.
_OPENING_S = 60


class KmsClient:
    """One region's KMS. Calls block; they run on an event loop of their own thread. Raises KeysUnavailable."""

    def __init__(self, settings: Kms) -> None:
        """Raises OperatorError without the optional packages."""
        try:
            from aiobotocore.session import get_session
            from botocore.config import Config
        except ImportError as missing:
            raise OperatorError("keys in KMS need the extra packages: cryptowatch[kms]") from missing
        self._timeout_s = _ATTEMPTS * 2 * settings.timeout_s
        config = Config(
            connect_timeout=settings.timeout_s,
            read_timeout=settings.timeout_s,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kms", daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        client = get_session().create_client(
            "kms", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config
        )
        self._client: Any = self._run(self._stack.enter_async_context(client), _OPENING_S)

    def public_key(self, key_id: str) -> PublicKey:
        """Raises OperatorError for a key of another kind."""
        answer = self._run(self._client.get_public_key(KeyId=key_id))
        try:
            found = load_der_public_key(answer["PublicKey"])
        except (ValueError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, EllipticCurvePublicKey) or not isinstance(found.curve, SECP256K1):
            raise OperatorError("it is no key of the kind ECC_SECG_P256K1")
        return PublicKey(found.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    def sign(self, key_id: str, digest: bytes) -> tuple[int, int]:
        """(r, s) of an ECDSA signature over 32 bytes."""
        answer = self._run(
            self._client.sign(
                KeyId=key_id, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            )
        )
        try:
            return decode_dss_signature(answer["Signature"])
        except (KeyError, ValueError) as problem:
            raise KeysUnavailable("KMS answered with no signature") from problem

    def close(self) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(self._timeout_s if timeout_s is None else timeout_s)
        except ClientError as problem:
            # Its code only: the message names accounts and keys.
            raise KeysUnavailable(f"KMS: {problem.response['Error']['Code']}") from problem
        except (BotoCoreError, FutureTimeout, OSError) as problem:
            future.cancel()
            raise KeysUnavailable(f"KMS: {type(problem).__name__}") from problem


@dataclass(frozen=True, slots=True, repr=False)
class KmsKey:
    """Implements `signing.wallet.AccountKey`."""

    client: KmsClient
    key_id: str
    public_key: PublicKey

    @property
    def script(self) -> bytes:
        return account_of(self.public_key)

    def sign_recoverable(self, digest: bytes) -> bytes:
        return recoverable(*self.client.sign(self.key_id, digest), digest, self.public_key)


def recoverable(r: int, s: int, digest: bytes, key: PublicKey) -> bytes:
    """r, the lower s and the recovery id: 65 bytes. Raises KeysUnavailable unless the signature is this key's."""
    s = min(s, _ORDER - s)
    try:
        compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    except OverflowError as problem:
        raise KeysUnavailable("KMS answered with no signature") from problem
    for recovery_id in range(4):
        signature = compact + bytes([recovery_id])
        try:
            found = PublicKey.from_signature_and_message(signature, digest, hasher=None)
        except ValueError:
            continue  # no point of the curve belongs to this id
        if found == key:
            return signature
    raise KeysUnavailable("KMS signed by another key")


def open_keys(client: KmsClient, name: str, settings: Kms) -> Sequence[KmsKey]:
    """The keys that the settings name, in their order. Raises OperatorError that names the one that cannot be read."""
    keys = []
    for place, key_id in enumerate(settings.keys):
        try:
            keys.append(KmsKey(client, key_id, client.public_key(key_id)))
        except (KeysUnavailable, OperatorError) as problem:
            raise OperatorError(f"{name}.keys[{place}]: {problem}") from problem
    return keys
