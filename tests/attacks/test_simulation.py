"""Several daemons at once in random orders, with whatever breaks: nobody is paid twice, and everybody is in the end.

For more seeds: `python -m tests.attacks.simulate 0-199`.
"""

import pytest

from tests.attacks.simulate import simulate

#: A few that reach much: replacements that others joined, older attempts that won, lines of change, reorgs.
SEEDS = (3, 21, 28)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
async def test_daemons_that_interleave_pay_everybody_once_whatever_breaks(database: str, seed: int) -> None:
    await simulate(database, seed)
