"""Which readers are cut off when all of them hold too much."""

from dataclasses import dataclass, field

from headwater.http.unsent import HEAD_START_BYTES, Unsent

ANSWER_BYTES = 10 * HEAD_START_BYTES


@dataclass(eq=False)
class Slow:
    """A reader; `left` is what it has not taken."""

    left: int = ANSWER_BYTES
    is_cut: bool = False

    def unsent_bytes(self) -> int:
        return self.left

    def cut_off(self) -> None:
        assert not self.is_cut, "once"
        self.is_cut = True


@dataclass
class Place:
    """Readers over time."""

    answers_max: float
    now_s: float = 0.0
    readers: list[Slow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unsent = Unsent(round(self.answers_max * ANSWER_BYTES), lambda: self.now_s)

    def falls_behind(self) -> Slow:
        reader = Slow()
        self.readers.append(reader)
        self.unsent.hold(reader)
        return reader

    def cut(self) -> list[bool]:
        return [reader.is_cut for reader in self.readers]


def test_nobody_is_cut_off_while_there_is_room() -> None:
    place = Place(answers_max=3)
    for _ in range(3):
        place.falls_behind()
    assert place.cut() == [False] * 3 and place.unsent.bytes() == 3 * ANSWER_BYTES


def test_of_readers_that_take_nothing_the_first_goes_first() -> None:
    place = Place(answers_max=2)
    for _ in range(4):
        place.falls_behind()
        place.now_s += 1
    assert place.cut() == [True, True, False, False] and place.unsent.bytes() == 2 * ANSWER_BYTES


def test_who_reads_stays_and_who_has_just_begun_too() -> None:
    place = Place(answers_max=2)
    reading = place.falls_behind()
    place.now_s += 1
    idle = place.falls_behind()
    place.now_s += 4
    reading.left -= 5 * HEAD_START_BYTES
    begun = place.falls_behind()
    assert (reading.is_cut, idle.is_cut, begun.is_cut) == (False, True, False)
    place.now_s += 0.01
    another = place.falls_behind()
    assert (reading.is_cut, begun.is_cut, another.is_cut) == (True, False, False), "it reads, and still holds up those that came later"


def test_one_answer_that_is_too_large_for_all_is_sent() -> None:
    place = Place(answers_max=0.5)
    first = place.falls_behind()
    assert not first.is_cut
    second = place.falls_behind()
    assert (first.is_cut, second.is_cut) == (True, False)


def test_who_has_caught_up_or_gone_counts_no_more() -> None:
    place = Place(answers_max=1)
    first = place.falls_behind()
    place.unsent.release(first)
    place.unsent.release(first)
    assert place.unsent.bytes() == 0
    place.falls_behind()
    assert place.cut() == [False, False]


def test_a_reader_may_fall_behind_again() -> None:
    place = Place(answers_max=1)
    first = place.falls_behind()
    place.unsent.hold(first)
    assert not first.is_cut and place.unsent.bytes() == ANSWER_BYTES
