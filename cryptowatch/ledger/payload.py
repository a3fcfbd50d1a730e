"""An event as consumers see it, in webhooks, in the API and in the event stream: the same bytes everywhere."""

from datetime import datetime

import msgspec

from cryptowatch.ledger.events import Event


class EntityView(msgspec.Struct, frozen=True):
    """What changed. `version` counts 1, 2, 3 … per entity: a consumer that sees 5 before 4 knows to wait."""

    kind: str
    id: str
    version: int


class EventView(msgspec.Struct, frozen=True):
    """`sequence` is the place in the feed (`after` takes it); `data` is the object as the API shows it."""

    id: str
    type: str
    created_at: datetime
    sequence: int
    entity: EntityView
    data: msgspec.Raw


def event_id(number: int) -> str:
    """The id that consumers remember to recognize a repetition; also the `webhook-id`, so it holds no dot."""
    return f"evt_{number:016x}"


def event_view(event: Event) -> EventView:
    return EventView(
        id=event_id(event.id),
        type=event.type,
        created_at=event.created_at,
        sequence=event.position,
        entity=EntityView(event.entity_kind, event.entity_id, event.entity_version),
        data=msgspec.Raw(event.data.encode()),
    )
