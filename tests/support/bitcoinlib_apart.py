"""bitcoinlib, kept away from the user's home: importing its keys writes a database into its data folder."""

import atexit
import os
import shutil
import tempfile

_FOLDER = tempfile.mkdtemp(prefix="bitcoinlib-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ["BCL_DATA_DIR"] = _FOLDER

from bitcoinlib.keys import HDKey as LibKey  # noqa: E402  # after the folder is named
from bitcoinlib.mnemonic import Mnemonic as LibMnemonic  # noqa: E402
from bitcoinlib.transactions import Transaction as LibTransaction  # noqa: E402

__all__ = ["LibKey", "LibMnemonic", "LibTransaction"]
