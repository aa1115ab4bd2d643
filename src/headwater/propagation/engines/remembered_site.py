"""What a wiki says about itself, remembered in a file: pages are served after a restart although the wiki is down.

A remembered answer may be old; titles are then read by rules that the wiki has changed since, until the next start. That is rare and
mends itself, where no answer at all would take every page away for as long as the wiki is away.
"""

import asyncio
import os
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from headwater.kernel.errors import Unavailable
from headwater.mediawiki.titles import SiteInfo

FRESH_WAIT_S_MAX = 5.0  # for the wiki's own answer, where an older one is remembered

_log = structlog.get_logger(__name__)


class AsksWiki(Protocol):
    """The wiki itself, asked about itself."""

    async def site(self) -> SiteInfo:
        """Raises Unavailable."""
        ...


class RememberedSite:
    """A `Site` that falls back on the last answer. The file is made anew whenever the answer differs."""

    def __init__(self, wiki: AsksWiki, path: Path) -> None:
        self._wiki = wiki
        self._path = path
        self._remembered: SiteInfo | None = None
        self._read = False

    async def site(self) -> SiteInfo:
        """The wiki's answer; where there is none in time, the last one. Raises Unavailable where there never was one."""
        if not self._read:
            self._remembered = await asyncio.to_thread(_load, self._path)
            self._read = True
        remembered = self._remembered
        try:
            async with asyncio.timeout(None if remembered is None else FRESH_WAIT_S_MAX):
                told = await self._wiki.site()
        except (Unavailable, TimeoutError) as error:
            if remembered is None:
                raise
            _log.warning("site_remembered", file=self._path.name, reason=str(error) or "no answer in time")
            return remembered
        if told != remembered:
            await asyncio.to_thread(_save, self._path, told)
            self._remembered = told
        return told


def _load(path: Path) -> SiteInfo | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SiteInfo)
    except (OSError, msgspec.DecodeError):  # there is none, or it is of another version: the wiki is asked
        return None


def _save(path: Path, told: SiteInfo) -> None:
    """Replace the file as a whole; a disk that is full leaves the old one."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(told))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _log.warning("site_not_remembered", file=path.name, reason=str(error))
