"""The HTTP API in Python, for a platform's backend: typed, asyncio, with retries that never do anything twice.

    async with connect("https://payments.internal", key) as client:
        account = await client.create_account(NewAccount(external_id="player-7"))
        async for event in client.follow_events(after=seen): …

client     one method for each call of a platform's day, and the way to the rest
players, referrals, agents, compliance, treasury, webhooks
           one method for each other call
paging     lists, page by page
transport  one request, repeated where that is safe
sse        the stream of events, resumed where it broke off
"""

from cryptowatch.client.client import Client, connect
from cryptowatch.client.transport import ApiProblem, OutcomeUnknown

__all__ = ["ApiProblem", "Client", "OutcomeUnknown", "connect"]
