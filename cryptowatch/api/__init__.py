"""The HTTP API for machines: one table of routes, one pipeline that every request takes.

app          puts it together: `create_app(services)`
services     what it needs of the rest
routes       method, path, scope, types, error codes and handler of every call
pipeline     what happens to a request before and after its handler
reading      bytes and parameters -> typed values, or a problem
problems     every error code, its status and its sentence
keys         who may call; idempotency: at most one effect per key
openapi      the document that is generated from the table, and its page
accounts, transfers, deposits, withdrawals, events, endpoints, chains, health: the handlers
"""
