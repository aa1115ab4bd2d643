"""Wires purging: the declared caches, and the word of the pages API about what it serves."""

from contextlib import AsyncExitStack

from headwater.app.roles import Role
from headwater.app.surroundings import Surroundings
from headwater.kernel.errors import Unavailable
from headwater.purging.api import PurgingApi
from headwater.purging.config import PurgingConfig
from headwater.purging.engines.http import HttpPurgeTarget, HttpTargetSpec
from headwater.purging.ports import ServedSeq
from headwater.purging.service import PurgingService


def _targets(config: PurgingConfig) -> list[HttpPurgeTarget]:
    return [
        HttpPurgeTarget(
            HttpTargetSpec(
                name=target.name,
                url=target.url,
                method=target.method,
                layer=target.layer,
                concurrency_max=target.concurrency_max,
                timeout_s=target.timeout,
                answer_bytes_max=config.answer_bytes_max,
            )
        )
        for target in config.targets
    ]


class NotHere:
    """`ServedSeq` in a process without propagation: second purges wait until a process with it runs."""

    async def served(self, wiki: str, page_id: int) -> int | None:
        """Always raises Unavailable."""
        raise Unavailable("the propagation role does not run in this process")


async def start_purging(around: Surroundings, served: ServedSeq) -> Role:
    """Start purging: dead letters and progress are read before this returns. Raises Unavailable."""
    config = around.config.purging
    async with AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(target) for target in _targets(config)]
        service = PurgingService(around.log, targets, served, config=config, clock=around.clock, ids=around.ids, metrics=around.metrics)
        await service.start()

        return Role(
            name="purging",
            listen=config.listen,
            routes=PurgingApi(service).routes(),
            readiness=(("log", service.not_ready),),
            loops=(("purging", service.run),),
            close=stack.pop_all().aclose,
        )
    raise AssertionError("unreachable")
