"""Section `propagation`: batches, windows, deadlines, checkpoints, read policy, cache lifetimes."""

from enum import Enum
from typing import Annotated

import msgspec

from headwater.kernel.config import Bytes, Seconds, Section, doc


class ReadPolicy(Enum):
    """What a reader of a page that is not fresh gets, unless the request says otherwise."""

    STALE = "stale"  # the current body at once, marked stale; the page is rendered sooner
    FRESH = "fresh"  # the render is waited for, up to `read_deadline`


Count = Annotated[int, msgspec.Meta(ge=1)]


class PropagationConfig(Section, frozen=True):
    """Propagation and the pages API."""

    listen: Annotated[str, doc("Address of the pages API as host:port.")] = "127.0.0.1:8082"

    inputs_batch_max: Annotated[Count, doc("Most events turned into changes in one append.")] = 500
    apply_batch_max: Annotated[Count, doc("Most changes applied between two looks at other work.")] = 200
    commit_batch_max: Annotated[Count, doc("Most renders committed in one append.")] = 100
    commit_bytes_max: Annotated[Bytes, doc("Bodies of one group of commits; one larger body is committed alone.")] = Bytes.of("32MiB")
    body_bytes_max: Annotated[Bytes, doc("Largest body that is stored; a page with a larger one is parked.")] = Bytes.of("16MiB")

    renders_max: Annotated[Count, doc("Most renders of all wikis under way; beyond it they take turns.")] = 64
    window_max: Annotated[Count, doc("Most renders of one wiki in classes 2 and 3 under way; the window moves below it.")] = 32
    urgent_window_max: Annotated[Count, doc("Most renders of one wiki in classes 0 and 1 under way, beside `window_max`.")] = 16
    render_target: Annotated[Seconds, doc("The window grows while the 95th percentile of render times is below this.")] = Seconds.of("5s")

    retry_delay: Annotated[Seconds, doc("Delay after a page's first failed render; doubles with each.")] = Seconds.of("2s")
    retry_delay_max: Annotated[Seconds, doc("Longest delay between two attempts at one page.")] = Seconds.of("10min")
    failures_max: Annotated[Count, doc("Failures in a row after which a page is parked as a dead letter.")] = 5
    retries_max: Annotated[
        Count, doc("Times in a row that the wiki may put off one page, while it answers for others, before that counts as a failure.")
    ] = 10

    checkpoint_interval: Annotated[Seconds, doc("Time between two checkpoints of a shard.")] = Seconds.of("1s")
    full_retry_delay: Annotated[Seconds, doc("Pause before writing again when the disk is full or the log does not answer.")] = Seconds.of(
        "2s"
    )
    recover_delay: Annotated[Seconds, doc("Pause before an owner recovers after a write of unknown outcome.")] = Seconds.of("100ms")

    read_policy: Annotated[ReadPolicy, doc("`stale` or `fresh`: what readers of a stale page get.")] = ReadPolicy.STALE
    read_policies: Annotated[dict[str, ReadPolicy], doc("The read policy of single wikis.")] = {}
    read_deadline: Annotated[Seconds, doc("Longest wait of a reader for a render.")] = Seconds.of("10s")
    waiters_max: Annotated[Count, doc("Most readers of one wiki that wait for renders.")] = 2000
    unknown_max: Annotated[Count, doc("Most unknown titles of one wiki that are looked up at once.")] = 100
    absent_max: Annotated[Count, doc("Most titles remembered as not existing.")] = 10_000
    repairs_max: Annotated[Count, doc("Most bodies missing from the store that are made again at once, per wiki.")] = 4

    fresh_lifetime: Annotated[Seconds, doc("How long shared caches may keep a fresh page: it is purged when it changes.")] = Seconds.of(
        "1d"
    )
    stale_lifetime: Annotated[Seconds, doc("How long shared caches may keep a page that is not fresh.")] = Seconds.of("5s")
    stale_while_revalidate: Annotated[Seconds, doc("How long they may serve it beyond that while they ask again.")] = Seconds.of("30s")
    absent_lifetime: Annotated[Seconds, doc("How long shared caches may keep the answer that a page does not exist.")] = Seconds.of("10s")

    views_max: Annotated[Count, doc("Most titles in one report of views.")] = 1000
    dependents_max: Annotated[Count, doc("Most dependents listed in one answer.")] = 1000
    dead_letters_max: Annotated[Count, doc("Most dead letters listed in one answer.")] = 1000
    flow_max: Annotated[Count, doc("Edits of each wiki kept for the live view.")] = 200
    history_pages_max: Annotated[Count, doc("Pages of each wiki whose last commits are kept in memory.")] = 2000
    history_max: Annotated[Count, doc("Last commits kept per page.")] = 8

    backfill_batch_max: Annotated[Count, doc("Pages that a backfill asks of the wiki at once.")] = 500
    backfill_rate_max: Annotated[Count, doc("Pages per second that a backfill adds at most.")] = 5000
    backfill_retry_delay: Annotated[Seconds, doc("Pause of a backfill when the wiki does not answer.")] = Seconds.of("5s")

    tick_delay: Annotated[
        Seconds, doc("How long after the end of an hour or a day pages that show the time are marked; covers a wiki's slow clock.")
    ] = Seconds.of("5s")

    audit_interval: Annotated[Seconds, doc("Pause between two audited pages of a wiki; 0 audits none.")] = Seconds.of("10s")
    audit_grace: Annotated[
        Seconds, doc("How long an event may take to explain a difference that an audit found; longer than the follower's polls take.")
    ] = Seconds.of("60s")
    audit_copies: Annotated[bool, doc("Whether audits also ask the addresses of the page (`page_urls`) what caches serve.")] = True
    audit_copies_age_max: Annotated[
        Seconds, doc("How long after a commit a cache may still serve an older copy: longer than a purge and its second take.")
    ] = Seconds.of("5min")
    audit_timeout: Annotated[Seconds, doc("Longest wait of an audit for one copy.")] = Seconds.of("5s")

    changes_age_max: Annotated[Seconds, doc("Changes older than this may be trimmed, once a checkpoint covers them.")] = Seconds.of("7d")
    changes_bytes_max: Annotated[Bytes, doc("Beyond this size the oldest changes may be trimmed, once a checkpoint covers them.")] = (
        Bytes.of("4GiB")
    )

    def policy_of(self, wiki: str) -> ReadPolicy:
        """The read policy of `wiki`."""
        return self.read_policies.get(wiki, self.read_policy)
