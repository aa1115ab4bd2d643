"""The laws that every engine of the port `Log` obeys, as functions that raise AssertionError where an engine breaks them.

An engine's tests need a `LogEngine`, which opens its logs, and run every law on a fresh one:

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(law: Law, tmp_path: Path) -> None:
        asyncio.run(law(MyEngine(tmp_path)))
"""

from headwater.testing.log_laws import appending, owning, reading, retaining
from headwater.testing.log_laws.setting import Law, LogEngine, LogUnderTest, Setting

LAWS: tuple[Law, ...] = (*appending.LAWS, *reading.LAWS, *owning.LAWS, *retaining.LAWS)

__all__ = ["LAWS", "Law", "LogEngine", "LogUnderTest", "Setting"]
