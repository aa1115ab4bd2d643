"""Propagation: knows what each page was made from, and renders exactly what an edit makes stale.

Where what is, in the order in which an edit passes; words in capitals are those of `docs/explanation/propagation.md`.

The way of an edit
    inputs          events of the log → changes, each with its place in the one order; `changes` decides which resources an event changed
    applying        APPLY: changes → dirty pages
    rendering       LEASE and RENDER, within a `window` per upstream that moves; `turns` and its `fairness` say whose page is next
    committing      COMMIT: bodies, records and purges become durable; `setbacks` says when a page that failed is tried again
    emitted         the events that a commit emits, to the addresses that `urls` makes
    pages           READ: what a reader gets; `waiters` wait for a render

The shard, pure: no I/O, clock or randomness
    shard           every decision; what may be asked of it without changing it is in `questions`, what a render means in `decisions`
    staleness       when is a page stale
    state           what the shard holds: `ages` (who waits since when), `delays` (who may not go yet), `heat` (who was viewed lately)
    snapshot        state → checkpoint and back

The life of an owner
    owner           epoch after epoch; `tenure` is one epoch, and how it begins (RECOVER); `surroundings` is all that it reaches
    checkpointing   saves the shard
    erasures        hidden revisions go from the store
    backfill        makes the pages of an existing wiki known
    ticks           tells pages that show the time
    audit           looks for what is wrong although nothing says so; `repairs` writes the changes that mend it

What is written
    streams         names, policies and owners; `codec` is the bytes of changes, commits and checkpoints
    notes           identity, positions of the inputs, state of the backfill; `parking` is the dead letters

The room itself
    service, api    use cases, and their HTTP; `status`, `flow` and `gauges` are what operators see
    model, ports    values, and what is needed from outside (`engines`); `config` and `metrics` as in every room
"""
