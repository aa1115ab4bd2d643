"""Section `events`: the intake."""

from typing import Annotated

import msgspec

from headwater.events.streams import BUILT_IN, StreamRule
from headwater.kernel.config import Bytes, Seconds, Section, doc


class StreamConfig(Section, frozen=True):
    """One stream of your own, or all streams of a pattern that ends in `*`."""

    schema_title: Annotated[str, doc("Title of the schemas that it may carry, in any version.")]
    public: Annotated[bool, doc("Whether clients may post to it.")] = True


class EventsConfig(Section, frozen=True):
    """The intake of events."""

    listen: Annotated[str, doc("Address of the intake as host:port.")] = "127.0.0.1:8192"
    body_bytes_max: Annotated[Bytes, doc("Largest accepted request body.")] = Bytes.of("10MiB")
    event_bytes_max: Annotated[Bytes, doc("Largest accepted event.")] = Bytes.of("4MiB")
    events_max: Annotated[int, doc("Most events in one request."), msgspec.Meta(ge=1)] = 10_000
    retention: Annotated[Seconds, doc("How long events are kept.")] = Seconds.of("7d")
    stream_bytes_max: Annotated[Bytes, doc("Beyond this size the oldest events of a stream may go.")] = Bytes.of("10GiB")
    streams_max: Annotated[int, doc("Most streams that may come to exist, those of patterns included."), msgspec.Meta(ge=1)] = 1000
    dedup_window: Annotated[Seconds, doc("How long a repeated `meta.id` is known as such.")] = Seconds.of("7d")
    dedup_ids_max: Annotated[int, doc("How many ids are known at most; the smaller window counts."), msgspec.Meta(ge=1)] = 2_000_000
    dedup_pending_max: Annotated[
        int, doc("Most accepted ids waiting in memory for the index; above, requests are refused."), msgspec.Meta(ge=1)
    ] = 100_000
    dedup_flush_ids: Annotated[int, doc("So many waiting ids are written to the index at once."), msgspec.Meta(ge=1)] = 1000
    dedup_flush_interval: Annotated[Seconds, doc("Longest wait of an id for the index.")] = Seconds.of("1s")
    settle_after: Annotated[
        Seconds,
        doc("Longest time after which an append whose outcome is unknown can still land; until then its ids are neither known nor free."),
    ] = Seconds.of("10s")
    queue_events_max: Annotated[int, doc("Most events under way at once; above, requests are refused."), msgspec.Meta(ge=1)] = 20_000
    queue_bytes_max: Annotated[Bytes, doc("Most bytes of events under way at once.")] = Bytes.of("64MiB")
    batch_events_max: Annotated[int, doc("Most events in one append to the log."), msgspec.Meta(ge=1)] = 512
    batch_bytes_max: Annotated[Bytes, doc("Most bytes in one append to the log, unless one event alone has more.")] = Bytes.of("4MiB")
    catch_up_records_max: Annotated[int, doc("Records read at once when the index catches up with the log."), msgspec.Meta(ge=1)] = 200
    schema_directories: Annotated[tuple[str, ...], doc("Directories with schemas of your own, `<title>/<x.y.z>.json`.")] = ()
    streams: Annotated[dict[str, StreamConfig], doc("Streams of your own, by name or by pattern.")] = {}

    def rules(self) -> tuple[StreamRule, ...]:
        """Headwater's streams and those declared here, which win over a built-in one of the same name."""
        own = tuple(StreamRule(name, stream.schema_title, stream.public) for name, stream in self.streams.items())
        return (*(rule for rule in BUILT_IN if rule.name not in self.streams), *own)
