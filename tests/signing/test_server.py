"""The signer over its real socket: P9 (who may ask, what it signs), P3 (replays) and P10 (bounds)."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptowatch.chains.bitcoin.transaction import read_transaction
from cryptowatch.errors import SignerUnavailable
from cryptowatch.settings.signer import Signer
from cryptowatch.signing import server as server_module
from cryptowatch.signing.client import SignerClient, SigningRefused
from cryptowatch.signing.log import LogUnavailable
from cryptowatch.signing.messages import (
    KeyPath,
    MalformedMessage,
    Refused,
    Signed,
    SignerStatus,
    Status,
    frame,
    read_answer,
    receive,
)
from cryptowatch.signing.policy import Limits, Reason
from cryptowatch.signing.server import SignerServer, SocketInUse
from cryptowatch.signing.service import CoinChain, SigningService
from tests.support.wallet import ACCOUNTS, build

LIMITS = Limits(
    transaction_amount_max=100_000,
    hourly_amount_max=150_000,
    hourly_signings_max=100,
    fee_max=5_000,
    fee_rate_max_sat_vb=50,
    inputs_max=10,
    outputs_max=10,
)
#: Of the 150 000 that may leave within an hour.
LARGE: dict[str, Any] = {"pays": (95_000,), "change": (4_000,)}


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def settings(folder: Path, **changed: object) -> Signer:
    names = {"socket": "s", "keystore": "k", "passphrase_file": "p", "log": "log"}
    paths = {key: folder / name for key, name in names.items()}
    return Signer.model_validate({**paths, "timeout_s": 5, **changed})


@asynccontextmanager
async def running(
    folder: Path,
    clock: SetClock | None = None,
    limits: Limits = LIMITS,
    **changed: object,
) -> AsyncIterator[SignerClient]:
    """A signer in this process, and a client of it."""
    chosen = settings(folder, **changed)
    service = SigningService({"btc": CoinChain(ACCOUNTS, limits, "BTC")}, chosen.log, clock or SetClock())
    stop = asyncio.Event()
    try:
        server = SignerServer(service, chosen)
        serving = asyncio.create_task(server.run(stop))
        await asyncio.wait_for(server.listening.wait(), 5)
        yield SignerClient(chosen.socket, 5)
        stop.set()
        await serving
    finally:
        service.close()


async def ask(client: SignerClient, lineage: str = "L", chain: str = "btc", **of: Any) -> bytes:
    transaction, paths, change = build(**of)
    return await client.sign_bitcoin(
        chain=chain,
        lineage_id=lineage,
        transaction=transaction,
        input_paths=paths,
        change_paths=change,
        cold_indexes={},
    )


async def refusal(client: SignerClient, **of: Any) -> str:
    with pytest.raises(SigningRefused) as refused:
        await ask(client, **of)
    return refused.value.reason


async def raw_exchange(folder: Path, sent: bytes) -> bytes | None:
    reader, writer = await asyncio.open_unix_connection(str(folder / "s"))
    writer.write(sent)
    await writer.drain()
    try:
        return await receive(reader, 100_000)
    finally:
        writer.close()


async def test_a_payment_comes_back_signed_and_the_status_counts_it(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        raw = await ask(client)
        assert read_transaction(raw).txid == build()[0].txid
        status = await client.status()
        assert (status.requests, status.signed, status.refusals) == (1, 1, {})
        assert status.hourly_amounts == {"btc": {"BTC": "61000"}} and status.log_entries == 1


async def test_asking_again_gives_the_same_bytes_and_is_charged_once(tmp_path: Path) -> None:
    """P3."""
    async with running(tmp_path) as client:
        assert await ask(client) == await ask(client)
        assert (await client.status()).hourly_amounts == {"btc": {"BTC": "61000"}}


async def test_a_restart_forgets_neither_the_hour_nor_the_lineages(tmp_path: Path) -> None:
    """P9: else a thief of the daemon would only have to make the signer crash."""
    async with running(tmp_path) as client:
        first = await ask(client, **LARGE)
    async with running(tmp_path) as client:
        assert await refusal(client, lineage="M", salt=1, **LARGE) == Reason.HOURLY_LIMIT
        assert await refusal(client, lineage="L", salt=1) == Reason.LINEAGE_CONFLICT
        assert await ask(client, **LARGE) == first


async def test_the_hour_passes(tmp_path: Path) -> None:
    clock = SetClock()
    async with running(tmp_path, clock) as client:
        await ask(client, **LARGE)
        assert await refusal(client, lineage="M", salt=1, **LARGE) == Reason.HOURLY_LIMIT
        clock.time += timedelta(hours=1)
        await ask(client, lineage="M", salt=1, **LARGE)


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"chain": "other"}, Reason.UNKNOWN_CHAIN),
        ({"coins": (200_000,), "pays": (100_001,), "change": (98_999,)}, Reason.TRANSACTION_LIMIT),
        ({"pays": (60_000,), "change": (34_999,)}, Reason.FEE_TOO_HIGH),
        ({"coins": (20_000,) * 11, "change": ()}, Reason.TOO_LARGE),
        ({"pays": (0, 60_000)}, Reason.INVALID_AMOUNT),
        ({"pays": (60_000, 60_000)}, Reason.INVALID_AMOUNT),
    ],
)
async def test_what_the_policy_forbids_is_refused_and_leaves_no_trace_in_the_log(
    tmp_path: Path,
    of: dict[str, object],
    reason: Reason,
) -> None:
    async with running(tmp_path) as client:
        assert await refusal(client, **of) == reason
        status = await client.status()
        assert status.refusals == {reason: 1} and status.log_entries == 0


async def test_a_foreign_input_and_a_wrong_change_path_are_refused(tmp_path: Path) -> None:
    transaction, paths, change = build()
    wrong_inputs, wrong_change = [KeyPath("bip84", 0, 9)], {1: KeyPath("bip84", 1, 9)}
    async with running(tmp_path) as client:
        for input_paths, change_paths, reason in (
            (wrong_inputs, change, Reason.FOREIGN_INPUT),
            (paths, wrong_change, Reason.WRONG_CHANGE_PATH),
            (paths, {0: KeyPath("bip84", 1, 0)}, Reason.WRONG_CHANGE_PATH),
        ):
            with pytest.raises(SigningRefused, match=reason):
                await client.sign_bitcoin(
                    chain="btc",
                    lineage_id="L",
                    transaction=transaction,
                    input_paths=input_paths,
                    change_paths=change_paths,
                    cold_indexes={},
                )


async def test_change_in_parts_is_signed_when_every_part_is_its_own_and_refused_when_one_is_not(
    tmp_path: Path,
) -> None:
    """P9: each part is derived anew; what is not the wallet's is not taken for change because others are."""
    parts: dict[str, Any] = {"coins": (200_000,), "pays": (60_000,), "change": (50_000, 49_000, 40_000)}
    transaction, paths, change = build(**parts)
    async with running(tmp_path) as client:
        assert read_transaction(await ask(client, **parts)).txid == transaction.txid
        assert (await client.status()).hourly_amounts == {"btc": {"BTC": "61000"}}
        for claimed in (
            {**change, 0: KeyPath("bip84", 1, 9)},  # a stranger's
            {**change, 3: KeyPath("bip84", 1, 1)},  # another part's key
            {**change, 3: KeyPath("bip84", 0, 2)},  # a player's branch
            {**change, 9: KeyPath("bip84", 1, 2)},  # of no output
        ):
            with pytest.raises(SigningRefused, match=Reason.WRONG_CHANGE_PATH):
                await client.sign_bitcoin(
                    chain="btc",
                    lineage_id="L",
                    transaction=transaction,
                    input_paths=paths,
                    change_paths=claimed,
                    cold_indexes={},
                )


async def test_unclaimed_change_counts_as_paid_to_others(tmp_path: Path) -> None:
    transaction, paths, _ = build(coins=(200_000,), pays=(60_000,), change=(139_000,))
    async with running(tmp_path) as client:
        with pytest.raises(SigningRefused, match="transaction_limit"):
            await client.sign_bitcoin(
                chain="btc",
                lineage_id="L",
                transaction=transaction,
                input_paths=paths,
                change_paths={},
                cold_indexes={},
            )


REQUEST = {
    "method": "sign_bitcoin",
    "chain": "btc",
    "lineage_id": "L",
    "transaction": {},
    "input_paths": [],
    "change_paths": {},
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"[]",
        b"{}",
        b'{"method":"export_keys"}',
        b"[" * 5_000,
        b"\xff" * 100,
        msgspec.json.encode(REQUEST),
        msgspec.json.encode(REQUEST | {"more": 1}),
        msgspec.json.encode(REQUEST | {"lineage_id": ""}),
        msgspec.json.encode(REQUEST | {"lineage_id": "x" * 65}),
        msgspec.json.encode(REQUEST | {"input_paths": [{"scheme": "bip84", "branch": 2, "index": 0}]}),
        msgspec.json.encode(REQUEST | {"input_paths": [{"scheme": "bip44", "branch": 0, "index": 0}]}),
        msgspec.json.encode(REQUEST | {"input_paths": [{"scheme": "bip84", "branch": 0, "index": 2**31}]}),
        msgspec.json.encode(REQUEST | {"input_paths": [{"scheme": "bip84", "branch": 0, "index": -1}]}),
        msgspec.json.encode(REQUEST | {"change_paths": {"x": {"scheme": "bip84", "branch": 1, "index": 0}}}),
    ],
)
async def test_a_malformed_message_is_refused_and_the_signer_lives_on(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as client:
        answered = await raw_exchange(tmp_path, len(body).to_bytes(4, "big") + body)
        assert answered is not None
        answer = read_answer(answered)
        assert isinstance(answer, Refused) and answer.reason == Reason.MALFORMED
        await ask(client)


async def test_an_oversized_message_is_refused_by_its_announced_length(tmp_path: Path) -> None:
    """P10: nothing of its body is read."""
    async with running(tmp_path, message_bytes_max=5_000) as client:
        answered = await raw_exchange(tmp_path, (5_001).to_bytes(4, "big"))
        assert answered is not None
        answer = read_answer(answered)
        assert isinstance(answer, Refused) and "5001" in answer.detail
        await ask(client)


async def test_a_frame_cut_short_is_no_request(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write((100).to_bytes(4, "big") + b"{")
        writer.close()
        await ask(client)


async def test_one_connection_serves_many_requests_and_then_its_silence_is_cut(tmp_path: Path) -> None:
    async with running(tmp_path, timeout_s=0.2):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        for _ in range(3):
            writer.write(frame(Status()))
            body = await receive(reader, 10_000)
            assert body is not None and isinstance(read_answer(body), SignerStatus)
        assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()


async def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(2):
        async with running(tmp_path, timeout_s=60):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            await asyncio.sleep(0.05)
        assert await reader.read() == b""
        writer.close()


async def test_connections_beyond_the_limit_are_told_so(tmp_path: Path) -> None:
    """P10."""
    async with running(tmp_path, connections_max=1) as client:
        _, idle = await asyncio.open_unix_connection(str(tmp_path / "s"))
        await asyncio.sleep(0.05)
        with pytest.raises(SignerUnavailable, match="as many connections"):
            await client.status()
        idle.close()
        await asyncio.sleep(0.05)
        await client.status()


async def test_concurrent_requests_are_judged_one_after_the_other(tmp_path: Path) -> None:
    """Two payments that only fit one by one into the hour never both get through."""
    async with running(tmp_path) as client:
        answers = await asyncio.gather(
            *(ask(client, lineage=f"L{n}", salt=n, **LARGE) for n in range(8)), return_exceptions=True
        )
    assert sum(isinstance(answer, bytes) for answer in answers) == 1


async def test_a_signer_that_is_away_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    client = SignerClient(tmp_path / "s", 1)
    with pytest.raises(SignerUnavailable):
        await client.status()
    async with running(tmp_path):
        await client.status()
    with pytest.raises(SignerUnavailable):
        await client.status()
    async with running(tmp_path):
        await client.status()


async def test_a_silent_signer_is_unavailable_within_the_timeout(tmp_path: Path) -> None:
    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.close()

    async with await asyncio.start_unix_server(say_nothing, str(tmp_path / "s")):
        with pytest.raises(SignerUnavailable, match=r"within 0\.1 s"):
            await SignerClient(tmp_path / "s", 0.1).status()


async def test_the_client_does_not_take_another_transaction_for_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        other = await ask(client)

    async def answer_with_other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive(reader, 100_000)
        writer.write(frame(Signed(other.hex())))
        writer.close()

    async with await asyncio.start_unix_server(answer_with_other, str(tmp_path / "t")):
        with pytest.raises(SignerUnavailable, match="another transaction"):
            await ask(SignerClient(tmp_path / "t", 5), pays=(50_000,))


async def test_the_socket_is_for_its_user_only_unless_others_are_named(tmp_path: Path) -> None:
    async with running(tmp_path):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    async with running(tmp_path, peer_uids=[65534]):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o660
    assert not (tmp_path / "s").exists()


async def test_a_peer_of_another_user_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as client:
        monkeypatch.setattr(server_module, "uid_of", lambda _: os.geteuid() + 1)
        with pytest.raises(SignerUnavailable):
            await client.status()
        monkeypatch.undo()
        assert (await client.status()).requests == 0


#: Starts as root, since the interpreter may lie where only root can read, and becomes another user.
STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
try:
    connection.sendall(bytes.fromhex(sys.argv[2]))
    print(len(connection.recv(4)))
except OSError:
    print(0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("named", "answer_bytes"), [([], 0), ([65534], 4)])
async def test_a_real_process_of_another_user_is_answered_only_when_named(
    tmp_path: Path,
    named: list[int],
    answer_bytes: int,
) -> None:
    with tempfile.TemporaryDirectory() as open_folder:
        os.chmod(open_folder, 0o755)
        async with running(tmp_path, peer_uids=named, socket=f"{open_folder}/s"):
            os.chmod(f"{open_folder}/s", 0o666)  # modes aside: the kernel's word on the peer must be enough
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-c",
                STRANGER,
                f"{open_folder}/s",
                frame(Status()).hex(),
                stdout=subprocess.PIPE,
            )
            stdout, _ = await process.communicate()
    assert stdout.decode().strip() == str(answer_bytes)


async def test_a_dead_signers_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    async with running(tmp_path):
        service = SigningService({}, tmp_path / "other-log", SetClock())
        with pytest.raises(SocketInUse):
            await SignerServer(service, settings(tmp_path)).run(asyncio.Event())
        service.close()
    leftover = server_module.listen(tmp_path / "s", group=False)
    leftover.close()
    async with running(tmp_path) as client:
        await client.status()
    (tmp_path / "s").write_text("not a socket")
    with pytest.raises(SocketInUse, match="not a socket"):
        server_module.listen(tmp_path / "s", group=False)


async def test_a_log_that_cannot_be_written_gives_no_signature_and_ends_the_signer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P9: no signature leaves that the next start would not know of."""

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    async def until_it_ends() -> None:
        async with running(tmp_path) as client:
            monkeypatch.setattr(os, "fsync", full_disk)
            with pytest.raises(SignerUnavailable):
                await ask(client)

    with pytest.raises(LogUnavailable, match="No space"):
        await until_it_ends()


async def test_limits_can_be_changed_between_runs_and_the_log_still_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        await ask(client)
    async with running(tmp_path, limits=replace(LIMITS, hourly_amount_max=70_000)) as client:
        assert await refusal(client, lineage="M", salt=1) == Reason.HOURLY_LIMIT


async def test_a_frame_longer_than_allowed_is_malformed_for_the_client_too() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((11).to_bytes(4, "big"))
    with pytest.raises(MalformedMessage, match="11 bytes"):
        await receive(reader, 10)
