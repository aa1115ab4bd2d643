"""The log in memory obeys the laws, also when reads answer nothing although more is there."""

import asyncio

import pytest

from headwater.log.engines.memory import MemoryLog
from headwater.testing.log_laws import LAWS, Law, Setting


class MemoryEngine:
    """Makes logs in memory."""

    durable = False

    def __init__(self, *, empty_reads: bool) -> None:
        self._empty_reads = empty_reads

    async def open(self, setting: Setting) -> MemoryLog:
        return MemoryLog(clock=setting.clock, limits=setting.limits, rules=setting.rules, empty_reads=self._empty_reads)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("empty_reads", [False, True])
def test_law_holds_in_memory(law: Law, empty_reads: bool) -> None:
    asyncio.run(law(MemoryEngine(empty_reads=empty_reads)))
