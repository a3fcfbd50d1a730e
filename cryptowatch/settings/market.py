"""The settings of how a chain's fees are watched, and of what waits for cheaper ones."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from cryptowatch.settings.sections import Count, Seconds, Section

Percent = Annotated[int, Field(ge=1, le=99)]


class MarketSettings(Section):
    survey_interval_s: Seconds = 60
    #: The levels of so many seconds say what is cheap.
    recent_s: Annotated[int, Field(ge=3_600, le=604_800)] = 86_400
    #: By priority, counted from the request; urgent ones never wait.
    wait_max_s: Mapping[Literal["economy", "normal"], Annotated[int, Field(ge=0, le=604_800)]] = {
        "economy": 14_400
    }
    #: What was so cheap or cheaper so much of the time is taken at once; later more is.
    cheap_percent: Percent = 25
    #: So much beyond it is not worth waiting for.
    tolerance_percent: Percent = 20
    #: A payment's budget: so many times its first fee is the most that a replacement costs.
    fee_growth_max: Count = 50
