"""Section `purging`: the caches and how patiently they are purged."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.purging.model import RetryPolicy

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class TargetConfig(Section, frozen=True):
    """One cache, or a layer of caches behind one address."""

    name: Annotated[str, doc("Its name in metrics and dead letters: `[a-z0-9._-]`.")]
    url: Annotated[str, doc("Address that purges are sent to, as `http://host:port`; the only address that is ever contacted for it.")]
    method: Annotated[str, doc("HTTP method of a purge.")] = "PURGE"
    layer: Annotated[int, doc("Layers are purged in rising order, inner caches first.")] = 0
    concurrency_max: Annotated[int, doc("Most purges to it at once.")] = 16
    timeout: Annotated[Seconds, doc("Longest wait for one answer.")] = Seconds.of("5s")

    def __post_init__(self) -> None:
        """Refuse what could never work; ValueError becomes an InvalidConfig with the option's path."""
        parts = urlsplit(self.url)
        if _NAME.fullmatch(self.name) is None:
            raise ValueError("a target's name is 1 to 64 of a-z, 0-9, '.', '_' and '-'")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path not in ("", "/") or parts.query:
            raise ValueError("a target's url is http://host:port or https://host:port and nothing more")
        if not self.method.isascii() or not self.method.isalpha():
            raise ValueError("a target's method is a word such as PURGE")
        if not 1 <= self.concurrency_max <= 1000:
            raise ValueError("a target's concurrency_max is 1 to 1000")


class PurgingConfig(Section, frozen=True):
    """Purging."""

    listen: Annotated[str, doc("Address of the role as host:port.")] = "127.0.0.1:8084"
    targets: Annotated[tuple[TargetConfig, ...], doc("Every cache that is purged.")] = ()
    origin_timeout_max: Annotated[
        Seconds, doc("Longest fetch of a cache from its origin: pause between the first and the second purge of a URL.")
    ] = Seconds.of("60s")
    attempts_max: Annotated[int, doc("Failed attempts after which a purge becomes a dead letter for that target.")] = 20
    park_after: Annotated[Seconds, doc("Longest time before a purge becomes a dead letter.")] = Seconds.of("10m")
    backoff_first: Annotated[Seconds, doc("Pause after a first failure; doubled with each further one.")] = Seconds.of("200ms")
    backoff_max: Annotated[Seconds, doc("Longest pause between two attempts.")] = Seconds.of("30s")
    served_poll: Annotated[Seconds, doc("Pause between two questions whether the pages API serves a commit yet.")] = Seconds.of("500ms")
    unfinished_max: Annotated[int, doc("Most purges under way, about 1.5 KiB each; more wait in the log.")] = 50_000
    window_max: Annotated[int, doc("Most records read beyond the oldest unfinished one.")] = 200_000
    batch_records_max: Annotated[int, doc("Most records read from the log at once.")] = 100
    dead_letters_max: Annotated[int, doc("Most dead letters remembered by id; beyond, counts are a lower bound.")] = 100_000
    recent_max: Annotated[int, doc("Finished purges shown in the status.")] = 200
    answer_bytes_max: Annotated[Bytes, doc("Most bytes of a cache's answer that are read.")] = Bytes.of("64KiB")

    def __post_init__(self) -> None:
        """Refuse two targets of one name and limits below one."""
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("two targets have the same name")
        limits = (self.attempts_max, self.unfinished_max, self.window_max, self.batch_records_max, self.dead_letters_max, self.recent_max)
        if min(limits) < 1:
            raise ValueError("limits are at least 1")

    def retry_policy(self) -> RetryPolicy:
        """The options about retries as a value."""
        return RetryPolicy(
            attempts_max=self.attempts_max,
            park_after_s=self.park_after,
            backoff_first_s=self.backoff_first,
            backoff_max_s=self.backoff_max,
        )
