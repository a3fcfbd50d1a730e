"""Server-sent events: a stream's bytes as events. Pure. Used by `client`."""

from dataclasses import dataclass, field

import msgspec

from cryptowatch.ledger.payload import EventView


@dataclass(slots=True)
class Reader:
    """Takes lines; `last_id` is where a broken stream goes on."""

    last_id: str | None
    _data: list[bytes] = field(default_factory=list)

    def line(self, line: bytes) -> EventView | None:
        """The event that this line completes."""
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id":
            self.last_id = value.decode()
        elif name == b"data":
            self._data.append(value)
        elif not name and not value and self._data:
            data = b"\n".join(self._data)
            self._data.clear()
            return msgspec.json.decode(data, type=EventView)
        return None
