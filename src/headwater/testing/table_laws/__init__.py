"""The laws that every engine of the port `TableStore` obeys, as functions that raise AssertionError where an engine breaks them.

An engine's tests need a `TableEngine`, which opens its stores, and run every law on a fresh one:

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(law: Law, tmp_path: Path) -> None:
        asyncio.run(law(MyEngine(tmp_path)))
"""

from headwater.testing.table_laws import declaring, expiring, ordering, reading, streaming, together, writing
from headwater.testing.table_laws.setting import Law, StoreUnderTest, TableEngine

LAWS: tuple[Law, ...] = (
    *reading.LAWS,
    *ordering.LAWS,
    *writing.LAWS,
    *together.LAWS,
    *expiring.LAWS,
    *streaming.LAWS,
    *declaring.LAWS,
)

__all__ = ["LAWS", "Law", "StoreUnderTest", "TableEngine"]
