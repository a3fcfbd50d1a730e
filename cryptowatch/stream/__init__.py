"""The event stream: the whole feed in NATS JetStream, for consumers on many machines.

messages   an event as a message, and what the server answers (pure)
jetstream  one connection to the server
worker     the loop that keeps the stream equal to the feed
"""
