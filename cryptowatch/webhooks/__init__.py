"""Webhooks: every event, told to the platform's endpoints at least once, in order per entity.

endpoints   who wants to hear of what
deliveries  the queue: one row per endpoint and event
machine     what an attempt's outcome means (pure)
signature   Standard Webhooks v1
target      where a delivery may go: never into private networks
attempt     one attempt to deliver
exchange    one POST and its answer
worker      the loops between them
"""
