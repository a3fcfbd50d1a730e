"""What merging coins keeps to: the settings, and the signer's own bounds where they are narrower."""

from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import BitcoinSettings
from cryptowatch.settings.signer import CoinPolicy
from cryptowatch.treasury.consolidate import consolidation_rules
from tests.chains.families import EXAMPLE


def test_no_consolidation_is_larger_than_the_signer_signs() -> None:
    settings = load_settings(EXAMPLE)
    chain, policy = settings.chains["bitcoin"], settings.signer.policy["bitcoin"]
    assert isinstance(chain, BitcoinSettings) and isinstance(policy, CoinPolicy)
    assert consolidation_rules(chain, policy).inputs == chain.wallet.consolidation.inputs
    narrow = policy.model_copy(update={"inputs_max": 150})
    assert consolidation_rules(chain, narrow).inputs == 150
    assert consolidation_rules(chain, None).inputs == chain.wallet.consolidation.inputs


def test_coins_are_merged_at_the_long_term_rate_where_no_other_is_set() -> None:
    chain = load_settings(EXAMPLE).chains["bitcoin"]
    assert isinstance(chain, BitcoinSettings)
    assert consolidation_rules(chain, None).rate_max == chain.fees.long_term_sat_vb * 1000
