"""Section `wikis`: each wiki is declared once, for all roles."""

from enum import Enum
from typing import Annotated

from headwater.kernel.config import Bytes, Seconds, Secret, Section, doc


class Source(Enum):
    """Where a wiki's events come from."""

    FOLLOWER = "follower"  # Headwater polls recent changes
    INTAKE = "intake"  # the wiki posts events (EventBus)
    BOTH = "both"  # it posts, and Headwater reconciles


class WikiConfig(Section, frozen=True):
    """One wiki."""

    domains: Annotated[
        tuple[str, ...],
        doc("Host names as they appear in `meta.domain` of this wiki's events; the first names it."),
    ]
    api_url: Annotated[str, doc("Address of `api.php`.")]
    source: Annotated[Source, doc("`follower`, `intake` or `both`.")] = Source.FOLLOWER
    page_urls: Annotated[
        tuple[str, ...],
        doc("Addresses purged when a page changes; `{title}` is the percent-encoded prefixed database key."),
    ] = ()
    history_urls: Annotated[tuple[str, ...], doc("Addresses purged beside `page_urls` when a page gets a new revision.")] = ()
    variants: Annotated[tuple[str, ...], doc("Values of `{variant}` in the page addresses; none leaves such addresses out.")] = ()
    user_agent: Annotated[str, doc("User-Agent of every request to the wiki.")] = "Headwater/0.1 (https://example.org/headwater)"
    username: Annotated[str | None, doc("Bot-password login name, for private wikis.")] = None
    password: Annotated[Secret | None, doc("Bot password; or `password_file`.")] = None
    timeout: Annotated[Seconds, doc("Longest wait for one answer of the wiki.")] = Seconds.of("30s")
    maxlag: Annotated[Seconds, doc("`maxlag` sent with every request; the wiki refuses while its replicas lag more.")] = Seconds.of("5s")
    poll_interval: Annotated[Seconds, doc("Pause of the follower between two polls when nothing is new.")] = Seconds.of("1s")
    overlap: Annotated[Seconds, doc("How far back the follower looks for changes that appear late.")] = Seconds.of("60s")
    replication_window: Annotated[Seconds, doc("Longest replica lag of the wiki's database; 0 without replicas.")] = Seconds.of("0s")
    concurrency_max: Annotated[int, doc("Most requests to this wiki at once.")] = 8
    answer_bytes_max: Annotated[Bytes, doc("Largest answer of the wiki that is read.")] = Bytes.of("32MiB")
