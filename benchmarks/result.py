"""What a benchmark answers with.

A benchmark is one module `benchmarks/bench_<question>.py` with a docstring that asks the question, and
`def measure(*, quick: bool) -> list[Result]`. Costs are compared with the cost of their parts in the same run, so that a slow machine
does not change the answer.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: of the number: `µs`, `events/s`, `×`.
        at_least: a ratio that must not fall below this, or None.
        at_most: a ratio that must not rise above this, or None.
    """

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the number is within its bounds."""
        return (self.at_least is None or self.value >= self.at_least) and (self.at_most is None or self.value <= self.at_most)

    @property
    def bound(self) -> str:
        """The bounds as text."""
        parts = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        parts += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        return ", ".join(parts)
