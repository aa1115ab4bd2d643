"""Metrics of propagation. Labels: `wiki` is an id from the configuration, `urgency` one of `0` to `3`."""

from headwater.kernel.metrics import COUNT_BUCKETS, counter, gauge, histogram

EVENTS_READ = counter("propagation_events_read", "Events read from the log, of this wiki or not.", "wiki")
EVENTS_UNUSABLE = counter("propagation_events_unusable", "Events of this wiki that could not be turned into changes.", "wiki")
CHANGES_WRITTEN = counter("propagation_changes_written", "Changes appended to the wiki's changes stream.", "wiki")
CHANGES_APPLIED = counter("propagation_changes_applied", "Changes applied to the shard.", "wiki")
CHANGES_IGNORED = counter("propagation_changes_ignored", "Changes ignored because their revision was seen before.", "wiki")
PAGES_MARKED = counter("propagation_pages_marked", "Pages marked stale that were not before.", "wiki")
RENDERS = counter("propagation_renders", "Renders that ended, by outcome: rendered, gone, retry, failed, unused.", "wiki", "outcome")
RENDER_SECONDS = histogram("propagation_render_seconds", "Time of one render.", "wiki")
SKIPPED = counter("propagation_pages_skipped", "Dirty pages found fresh when leased: nothing rendered.", "wiki")
COMMITS = counter("propagation_commits", "Commit records appended.", "wiki")
COMMIT_GROUP_RECORDS = histogram("propagation_commit_group_renders", "Renders in one append.", "wiki", buckets=COUNT_BUCKETS)
COMMIT_SECONDS = histogram("propagation_commit_seconds", "Time of one group: bodies, append and state.", "wiki")
CUTOFFS = counter("propagation_cutoffs", "Commits whose content was as before: no body, no purge.", "wiki")
OVERTAKEN = counter("propagation_overtaken", "Pages dirty again at commit because a change overtook the render.", "wiki")
PURGES_EMITTED = counter("propagation_purges_emitted", "Addresses asked to be purged.", "wiki")
PARKED = counter("propagation_parked", "Pages parked as dead letters.", "wiki")
DEAD_LETTERS = gauge("propagation_dead_letters", "Pages parked now.", "wiki")
ERASED = counter("propagation_bodies_erased", "Stored bodies erased because their revision was hidden.", "wiki")
PAGES = gauge("propagation_pages", "Pages known.", "wiki")
DIRTY = gauge("propagation_pages_dirty", "Pages waiting to be rendered.", "wiki", "urgency")
IN_FLIGHT = gauge("propagation_pages_in_flight", "Renders under way.", "wiki")
WINDOW = gauge("propagation_window_renders", "Renders that may be under way, by window: urgent or bulk.", "wiki", "window")
STALEST_SECONDS = gauge("propagation_stalest_page_seconds", "Age of the stalest page.", "wiki", "urgency")
INPUT_LAG_SECONDS = gauge("propagation_input_lag_seconds", "Age of the last event read; 0 at the end of the streams.", "wiki")
CHECKPOINTS = counter("propagation_checkpoints", "Checkpoints saved.", "wiki")
CHECKPOINT_SECONDS = histogram("propagation_checkpoint_seconds", "Time of one checkpoint.", "wiki")
RECOVERIES = counter("propagation_recoveries", "Recoveries of a shard, the first start included.", "wiki")
RECOVERY_SECONDS = histogram("propagation_recovery_seconds", "Time of one recovery.", "wiki")
WRITES_DELAYED = counter("propagation_writes_delayed", "Writes repeated because the disk was full or the log did not answer.", "wiki")
OWNER_FENCED = counter("propagation_owner_fenced", "Owners stopped because another one claimed the shard.", "wiki")
READS = counter(
    "propagation_reads", "Pages read, by what was served: fresh, stale, rendering, redirect, absent, refused.", "wiki", "served"
)
READ_SECONDS = histogram("propagation_read_seconds", "Time to answer a read of a page.", "wiki")
READ_WAITS = counter("propagation_read_waits", "Readers who waited for a render.", "wiki")
BODIES_REPAIRED = counter("propagation_bodies_repaired", "Bodies missing or damaged in the store that were made again.", "wiki", "found")
VIEWS = counter("propagation_views", "Views reported.", "wiki")
BACKFILL_PAGES = counter("propagation_backfill_pages", "Pages seen by backfills.", "wiki")
TICKS = counter("propagation_ticks", "Changes written because an hour or a day had ended.", "wiki", "span")
AUDITS = counter("propagation_audits", "Pages audited, by outcome: equal, mismatch, overtaken, unanswered.", "wiki", "outcome")
AUDIT_COPIES = counter(
    "propagation_audit_copies", "Addresses audited, by what they served: current, stale, unmarked, unanswered.", "wiki", "found"
)
FLOW_DROPPED = counter("propagation_flow_entries_dropped", "Edits dropped from the live view before they were done.", "wiki")

METRICS = (
    EVENTS_READ,
    EVENTS_UNUSABLE,
    CHANGES_WRITTEN,
    CHANGES_APPLIED,
    CHANGES_IGNORED,
    PAGES_MARKED,
    RENDERS,
    RENDER_SECONDS,
    SKIPPED,
    COMMITS,
    COMMIT_GROUP_RECORDS,
    COMMIT_SECONDS,
    CUTOFFS,
    OVERTAKEN,
    PURGES_EMITTED,
    PARKED,
    DEAD_LETTERS,
    ERASED,
    PAGES,
    DIRTY,
    IN_FLIGHT,
    WINDOW,
    STALEST_SECONDS,
    INPUT_LAG_SECONDS,
    CHECKPOINTS,
    CHECKPOINT_SECONDS,
    RECOVERIES,
    RECOVERY_SECONDS,
    WRITES_DELAYED,
    OWNER_FENCED,
    READS,
    READ_SECONDS,
    READ_WAITS,
    BODIES_REPAIRED,
    VIEWS,
    BACKFILL_PAGES,
    TICKS,
    AUDITS,
    AUDIT_COPIES,
    FLOW_DROPPED,
)
