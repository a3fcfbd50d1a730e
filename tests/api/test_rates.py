"""How often a key may call, over HTTP."""

from cryptowatch.api.keys import Scope
from cryptowatch.api.rates import Rate
from cryptowatch.db.pool import Pool
from tests.api.world import running_api, settings
from tests.support.moving_clock import MovingClock


async def test_a_key_that_calls_too_often_is_refused_and_others_are_not(pool: Pool, database: str) -> None:
    async with running_api(pool, settings(database, rate_per_s=1, rate_burst=3), MovingClock()) as world:
        busy, own = await world.caller({Scope.READ}), await world.caller({Scope.READ}, rate=Rate(1, 100))
        answers = [await busy.get("/v1/chains") for _ in range(20)]
        refused = [answer for answer in answers if answer.status != 200]
        assert {answer.code for answer in refused} == {"rate_limited"}
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
        # Three at once, and one for each second that this took.
        assert 3 <= 20 - len(refused) < 20
        assert [answer.status for answer in answers[:3]] == [200] * 3
        assert {(await own.get("/v1/chains")).status for _ in range(20)} == {200}
        shown = world.services.metrics.registry.get_sample_value("cryptowatch_api_rate_limited_total")
        assert shown == len(refused)
        documented = (await own.get("/openapi.json")).body["paths"]["/v1/chains"]["get"]["responses"]
        assert "rate_limited" in documented["429"]["description"]
