"""What a wallet of coins may spend, by the settings of its chain and of the signer."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.sending.lifting import Bounds
from cryptowatch.sending.reservers import coin_rules
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import BitcoinSettings

EXAMPLE = Path(__file__).parents[2] / "config" / "cryptowatch.example.toml"


def test_lines_are_bounded_by_the_cap_the_budget_and_the_signer() -> None:
    settings = load_settings(EXAMPLE)
    own, chain = settings.chains["bitcoin"], cast(ConnectedChain, SimpleNamespace(scheme=84))
    assert isinstance(own, BitcoinSettings)
    rules = coin_rules(chain, own, settings.signer.policy["bitcoin"])
    assert rules.unconfirmed_depth_max == 3
    assert rules.bounds == Bounds(300_000, 50, 1_000_000, 5_000_000)
    # Where the signer is not known nothing is made that would have to pay for others.
    unknown = coin_rules(chain, own, None)
    assert unknown.bounds == replace(rules.bounds, signer_rate_max=300_000, signer_fee_max=0)
