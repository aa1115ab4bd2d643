"""Wires propagation: a shard for each wiki, the store of bodies they share, and the wiki itself as renderer."""

import asyncio
from contextlib import AsyncExitStack

from headwater.app.events_role import event_stream_specs
from headwater.app.roles import Role, cancelled_at_stop
from headwater.app.storage import BODIES_FILE, shard_file, site_file
from headwater.app.surroundings import Surroundings
from headwater.mediawiki.client import WikiClient
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.api import routes
from headwater.propagation.engines.bodies_sqlite import SqliteBodies
from headwater.propagation.engines.checkpoint_sqlite import SqliteCheckpoints
from headwater.propagation.engines.copies_http import HttpCopies
from headwater.propagation.engines.mediawiki import MediaWikiRenderer
from headwater.propagation.engines.remembered_site import RememberedSite
from headwater.propagation.model import PageKey
from headwater.propagation.service import PropagationService, WikiParts


class ServedHere:
    """`ServedSeq` in the process that serves the pages."""

    def __init__(self, service: PropagationService) -> None:
        self._service = service

    async def served(self, wiki: str, page_id: int) -> int | None:
        """As the port says."""
        return self._service.served_seq(wiki, PageKey(page_id))


async def _parts(around: Surroundings, wiki: str, wiki_config: WikiConfig, stack: AsyncExitStack) -> WikiParts:
    """What one wiki needs. Its client is not the follower's: renders that queue must not hold up what tells of edits."""
    client = WikiClient(wiki, wiki_config, clock=around.clock, ids=around.ids, metrics=around.metrics)
    stack.push_async_callback(client.close)
    renderer = MediaWikiRenderer(client, clock=around.clock)
    stack.push_async_callback(renderer.close)
    checkpoints = await SqliteCheckpoints.open(around.data_dir / shard_file(wiki), metrics=around.metrics, config=around.config.storage)
    stack.push_async_callback(checkpoints.close)
    config = around.config.propagation
    copies = HttpCopies(
        wiki_config.page_urls, timeout_s=config.audit_timeout, body_bytes_max=config.body_bytes_max, user_agent=wiki_config.user_agent
    )
    stack.push_async_callback(copies.close)
    site = RememberedSite(client, around.data_dir / site_file(wiki))
    return WikiParts(config=wiki_config, renderer=renderer, site=site, checkpoints=checkpoints, copies=copies)


async def start_propagation(around: Surroundings) -> tuple[Role, ServedHere]:
    """Start propagation; recovery goes on in the background, and `/readyz` tells. Raises what the files and the log raise."""
    config = around.config
    async with AsyncExitStack() as stack:
        bodies = await SqliteBodies.open(around.data_dir / BODIES_FILE, metrics=around.metrics, config=config.storage)
        stack.push_async_callback(bodies.close)
        wikis = {wiki: await _parts(around, wiki, wiki_config, stack) for wiki, wiki_config in config.wikis.items()}
        service = PropagationService(
            wikis,
            config=config.propagation,
            log=around.log,
            bodies=bodies,
            event_streams=event_stream_specs(config),
            clock=around.clock,
            ids=around.ids,
            metrics=around.metrics,
        )
        await service.start()
        stack.push_async_callback(service.stop)

        async def run() -> None:
            await service.run()
            await asyncio.Event().wait()  # owners that ended say why in /readyz; the other roles go on

        role = Role(
            name="propagation",
            listen=config.propagation.listen,
            routes=routes(service),
            readiness=service.readiness(),
            loops=(("propagation", cancelled_at_stop(run)),),
            close=stack.pop_all().aclose,
        )
        return role, ServedHere(service)
    raise AssertionError("unreachable")
