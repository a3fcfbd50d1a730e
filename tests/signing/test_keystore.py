"""P9: keys lie on the disk encrypted, for one user, and no error quotes them."""

import json
import os
from pathlib import Path

import pytest

from cryptowatch.signing.keystore import (
    KeystoreError,
    KeystoreSecrets,
    read_keystore,
    read_passphrase,
    write_keystore,
)
from tests.support.wallet import MNEMONIC

SECRETS = KeystoreSecrets(mnemonic=MNEMONIC)
#: The least that the format allows, for quick tests.
QUICK_N = 2**14


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keystore"
    write_keystore(path, SECRETS, b"correct horse", QUICK_N)
    return path


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_what_was_written_is_read_back(path: Path) -> None:
    assert read_keystore(path, b"correct horse") == SECRETS


def test_the_file_is_for_its_user_only_and_shows_no_word(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"abandon" not in path.read_bytes()
    assert "abandon" not in repr(SECRETS)
    assert os.listdir(path.parent) == ["keystore"]


def test_a_wrong_passphrase_gives_one_clear_error(path: Path) -> None:
    with pytest.raises(KeystoreError, match="passphrase is wrong or the file is damaged"):
        read_keystore(path, b"correct horsf")


def test_an_existing_keystore_is_never_overwritten(path: Path) -> None:
    with pytest.raises(KeystoreError, match="exists already"):
        write_keystore(path, SECRETS, b"other", QUICK_N)
    assert read_keystore(path, b"correct horse") == SECRETS
    assert os.listdir(path.parent) == ["keystore"]


def test_a_changed_parameter_or_cipher_text_is_found(path: Path) -> None:
    original = json.loads(path.read_text())
    flipped = f"{int(original['ciphertext'], 16) ^ 1:0{len(original['ciphertext'])}x}"
    for changed in (
        original | {"ciphertext": flipped},
        original | {"header": original["header"] | {"scrypt_n": QUICK_N * 2}},
        original | {"header": original["header"] | {"nonce": "00" * 12}},
        original | {"header": original["header"] | {"salt": "00" * 16}},
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(KeystoreError, match="wrong or the file is damaged"):
            read_keystore(path, b"correct horse")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("scrypt_n", 2**30),
        ("scrypt_n", 2),
        ("scrypt_r", 1024),
        ("scrypt_p", 99),
        ("format", "other"),
        ("nonce", "00"),
    ],
)
def test_a_header_outside_the_formats_bounds_is_refused_before_deriving(
    path: Path,
    part: str,
    value: object,
) -> None:
    document = json.loads(path.read_text())
    document["header"][part] = value
    path.write_text(json.dumps(document))
    with pytest.raises(KeystoreError, match="is not a keystore"):
        read_keystore(path, b"correct horse")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_keystore_open_to_others_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KeystoreError, match="open to other users"):
        read_keystore(path, b"correct horse")


def test_a_missing_keystore_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="No such file"):
        read_keystore(tmp_path / "none", b"x")


def test_a_passphrase_is_a_files_first_line(tmp_path: Path) -> None:
    assert read_passphrase(private(tmp_path / "p", b"correct horse\r\nmore\n")) == b"correct horse"


def test_a_systemd_credential_with_its_access_list_mode_is_accepted(tmp_path: Path) -> None:
    assert read_passphrase(private(tmp_path / "p", b"x", 0o440)) == b"x"


def test_a_passphrase_comes_from_a_file_descriptor_too() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    assert read_passphrase(Path(f"/dev/fd/{reader}")) == b"from a pipe"
    os.close(reader)


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"x", 0o444, "open to other users"),
        (b"x", 0o660, "open to other users"),
        (b"", 0o600, "empty"),
        (b"\n", 0o600, "empty"),
        (b"x" * 2000, 0o600, "longer"),
    ],
)
def test_a_passphrase_file_that_is_open_empty_or_endless_is_refused(
    tmp_path: Path,
    content: bytes,
    mode: int,
    complaint: str,
) -> None:
    with pytest.raises(KeystoreError, match=complaint):
        read_passphrase(private(tmp_path / "p", content, mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_passphrase_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "p", b"x")
    os.chown(path, 65534, 65534)
    with pytest.raises(KeystoreError, match="another user"):
        read_passphrase(path)
