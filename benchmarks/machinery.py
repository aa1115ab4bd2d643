"""What does propagation cost per page without rendering, and how much of it is its unavoidable parts?

One template with many dependents is changed; every page is marked, leased, decided (its html changed), encoded, decoded, settled and put
into a checkpoint. The parts are the least that this work can be made of, measured in the same run: hashing the body, sorting its reads,
encoding and decoding the commit record with msgspec, a dictionary look-up per read to see whether the page is stale (for its cause and at
VERIFY), bitmap operations.

`python -m benchmarks.machinery [--quick]` prints one JSON object; `make bench` runs it among the others.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.result import Result
from pyroaring import BitMap

from headwater.propagation import codec
from headwater.propagation.model import Change, CommitRecord, Lease, Lsn, PageKey, Rendered, Resource, Title, Urgency
from headwater.propagation.shard import Decision, Shard

READS_PER_PAGE = 60  # 25 templates and 35 links, as on a large wiki
BODY_BYTES = 2048  # small, so that hashing does not hide the machinery
BATCH = 100
RATIO_MAX = 4.0  # of CPU time, so that a busy machine does not change the answer


@dataclass(frozen=True, slots=True)
class Pages:
    """A shard whose pages all read one template, and what a renderer would answer for each."""

    shard: Shard
    reads: Sequence[frozenset[Resource]]


def prepare(pages: int) -> Pages:
    """Pages that are committed and clean, with overlapping reads."""
    shard = Shard(epoch=1, log_base=1)
    shard.recovered()
    reads = []
    for page in range(pages):
        templates = [f"c:Template:{(page * 7 + i) % 500}" for i in range(24)]
        links = [f"e:Page_{(page * 31 + i * 17) % pages}" for i in range(READS_PER_PAGE - 25)]
        reads.append(frozenset(map(Resource, ["c:Template:All", *templates, *links])))
        shard.add(PageKey(page), Title(f"Page_{page}"), Urgency.REST, now_ms=0)
    machinery = Machinery(Pages(shard, reads))
    machinery.run(b"0")
    shard.saved(shard.checkpoint())
    return machinery.pages


class Machinery:
    """Takes every dirty page through all steps, with a renderer that does nothing, and adds up the time of each."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.seconds: dict[str, float] = {}
        self.records: list[CommitRecord] = []
        self._offset = pages.shard.commits_after

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        begin = time.thread_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - begin

    def mark(self, lsn: int) -> None:
        """APPLY one change of the template that all pages read."""
        change = Change(Resource("c:Template:All"), "edit", Urgency.REST, "id", 0)
        with self.timed("mark"):
            self.pages.shard.apply(Lsn(lsn), change, now_ms=0)

    def run(self, salt: bytes) -> None:
        """Lease, decide, encode, decode and settle until nothing is dirty."""
        shard = self.pages.shard
        while True:
            with self.timed("lease"):
                leases = shard.lease(BATCH, now_ms=0)
            if not leases:
                break
            outcomes = [self._render(lease, salt) for lease in leases]
            with self.timed("decide"):
                made = [shard.decide(lease, outcome, now_ms=0) for lease, outcome in zip(leases, outcomes, strict=True)]
            decisions = [decision for decision in made if decision is not None]
            with self.timed("encode"):
                values = [codec.encode_commit(decision.record) for decision in decisions]
            with self.timed("decode"):
                self.records.extend(codec.decode_commit(value) for value in values)
            with self.timed("settle"):
                for decision in decisions:
                    self._settle(decision)

    def _render(self, lease: Lease, salt: bytes) -> Rendered:
        body = (b"%s %d " % (salt, lease.page)).ljust(BODY_BYTES, b"x")
        return Rendered(lease.title, body, self.pages.reads[lease.page], rev=1)

    def _settle(self, decision: Decision) -> None:
        self._offset += 1
        self.pages.shard.settle(decision, self._offset, now_ms=0)

    def checkpoint(self) -> None:
        """Take a checkpoint, and encode it as the writer's thread does."""
        with self.timed("checkpoint on the loop"):
            checkpoint = self.pages.shard.checkpoint()
        with self.timed("checkpoint in the thread"):
            assert len(dict(checkpoint.pages)) == len(self.pages.shard)


def parts_s(records: Sequence[CommitRecord]) -> dict[str, float]:
    """Seconds for the least that the work on these pages can be made of, in batches as the machinery has them."""
    last = {resource: 1 for record in records for resource in record.reads}
    body = b"x" * BODY_BYTES
    values = {record.page: codec.encode_commit(record) for record in records}
    waiting = BitMap(values)

    def set_and_clear(record: CommitRecord) -> None:
        waiting.discard(record.page)
        waiting.add(record.page)

    works: dict[str, Callable[[CommitRecord], object]] = {
        "hash the body": lambda record: hashlib.sha256(body).hexdigest(),
        "sort the reads": lambda record: tuple(sorted(set(record.reads))),
        "encode the record": codec.encode_commit,
        "decode the record": lambda record: codec.decode_commit(values[record.page]),
        "compare reads before and after": lambda record: set(record.reads) - set(record.reads),
        "look up each read, twice": lambda record: [last.get(resource) for _ in range(2) for resource in record.reads],
        "set and clear bits": set_and_clear,
    }
    return {name: _seconds(work, records) for name, work in works.items()}


def _seconds(work: Callable[[CommitRecord], object], records: Sequence[CommitRecord]) -> float:
    begin = time.thread_time()
    for start in range(0, len(records), BATCH):
        _ = [work(record) for record in records[start : start + BATCH]]
    return time.thread_time() - begin


def measure(*, quick: bool) -> list[Result]:
    """The cost of each step in µs per page, and the sum as a ratio to the sum of its parts."""
    count = 500 if quick else 20_000
    machinery = Machinery(prepare(count))
    machinery.mark(10)
    machinery.run(b"1")
    machinery.checkpoint()
    assert len(machinery.records) == count
    parts = parts_s(machinery.records)
    steps = {name: seconds for name, seconds in machinery.seconds.items() if name != "checkpoint in the thread"}
    results = [Result("mark all dependents, once", machinery.seconds["mark"] * 1e6, "µs")]
    results += [Result(f"{name}, per page", seconds * 1e6 / count, "µs") for name, seconds in machinery.seconds.items() if name != "mark"]
    results += [Result(f"part: {name}, per page", seconds * 1e6 / count, "µs") for name, seconds in parts.items()]
    results.append(Result("whole machinery, per page", sum(steps.values()) * 1e6 / count, "µs"))
    results.append(Result("sum of the parts, per page", sum(parts.values()) * 1e6 / count, "µs"))
    ratio = sum(steps.values()) / sum(parts.values())
    results.append(Result("machinery to the sum of its parts", ratio, "×", at_most=None if quick else RATIO_MAX))
    return results


def main() -> int:
    """Print the results as one JSON object; exit status 1 if the ratio is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machinery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers: whether it runs, not how fast")
    results = measure(quick=parser.parse_args().quick)
    answer = {result.name: {"value": round(result.value, 3), "unit": result.unit, "holds": result.holds} for result in results}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
