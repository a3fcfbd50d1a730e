"""Lists of the API, page by page. Used by `client` and its parts."""

from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec

from cryptowatch.api.calls import Page, PageQuery
from cryptowatch.client.transport import Transport

T = TypeVar("T")


async def pages(transport: Transport, path: str, query: PageQuery, page: type[Page[T]]) -> AsyncIterator[T]:
    while True:
        found = await transport.send("GET", path, page, query=query)
        for item in found.data:
            yield item
        if found.next_cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=found.next_cursor)
