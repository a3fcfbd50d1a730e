"""bitcoinlib, kept away from the user's home: importing its keys writes a database into its data folder."""

import os
import tempfile

os.environ["BCL_DATA_DIR"] = tempfile.mkdtemp(prefix="bitcoinlib-")

from bitcoinlib.keys import HDKey as LibKey  # after the folder is named
from bitcoinlib.mnemonic import Mnemonic as LibMnemonic
from bitcoinlib.transactions import Transaction as LibTransaction

__all__ = ["LibKey", "LibMnemonic", "LibTransaction"]
