"""Who waits and since when: age queues, heat, delays."""

import random

import pytest
from pyroaring import BitMap

from headwater.propagation.ages import AgeQueue
from headwater.propagation.delays import Delays
from headwater.propagation.heat import Heat

HOUR_MS = 3_600_000


def queue_of(*entries: tuple[int, list[int]]) -> AgeQueue:
    queue = AgeQueue()
    for time_ms, pages in entries:
        queue.add(BitMap(pages), time_ms)
    return queue


def test_the_oldest_are_taken_first_without_those_held_back() -> None:
    queue = queue_of((10, [5, 6]), (20, [1, 2]))
    assert queue.take(3, BitMap([5])) == [(6, 10), (1, 20), (2, 20)]
    assert queue.oldest_ms() == 10 and list(queue.waiting) == [5]
    queue.validate()


def test_the_age_is_that_of_the_stalest_page_that_still_waits() -> None:
    queue = queue_of((10, [1]), (20, [2]), (30, [3]))
    assert queue.oldest_ms() == 10
    queue.discard(1)
    assert queue.oldest_ms() == 20
    queue.discard(3)
    assert queue.oldest_ms() == 20
    queue.discard(2)
    assert queue.oldest_ms() is None


def test_a_page_that_returns_has_its_new_age() -> None:
    queue = queue_of((10, [1, 2]))
    queue.discard(1)
    queue.add(BitMap([1]), 50)
    assert queue.since_ms(1) == 50
    queue.discard(2)
    assert queue.oldest_ms() == 50
    queue.validate()


def test_an_older_time_may_come_later() -> None:
    queue = queue_of((20, [1]), (10, [2]), (20, [3]))
    assert queue.oldest_ms() == 10
    assert queue.take(9, BitMap()) == [(2, 10), (1, 20), (3, 20)]


def test_moving_keeps_the_times() -> None:
    queue, other = queue_of((10, [1, 2]), (20, [3])), queue_of((15, [9]))
    assert queue.move(BitMap([2, 3, 7]), other) == 2
    assert list(queue.waiting) == [1]
    assert other.take(9, BitMap()) == [(2, 10), (9, 15), (3, 20)]
    queue.validate()
    other.validate()


def test_a_page_waits_once() -> None:
    queue = queue_of((10, [1]))
    with pytest.raises(AssertionError):
        queue.add(BitMap([1]), 20)


def test_too_many_times_are_merged_under_the_older_one() -> None:
    queue = AgeQueue(entries_max=4)
    for time_ms in range(5):
        queue.add(BitMap([time_ms]), time_ms)
    assert [queue.since_ms(page) for page in range(5)] == [0, 0, 0, 3, 3]
    queue.validate()


def test_a_copy_has_no_ghosts_and_comes_back() -> None:
    queue = queue_of((10, [1, 2]), (20, [3]))
    queue.discard(2)
    again = AgeQueue.of(queue.entries(64))
    assert again.take(9, BitMap()) == [(1, 10), (3, 20)]
    assert queue_of((10, [1]), (20, [2]), (30, [3])).entries(2)[0].pages == BitMap([1, 2])


def test_the_queue_agrees_with_a_dictionary() -> None:
    chance, queue, model = random.Random(4), AgeQueue(), dict[int, int]()
    for time_ms in range(800):
        match chance.randrange(3):
            case 0:
                pages = {page for page in chance.choices(range(60), k=5) if page not in model}
                queue.add(BitMap(pages), time_ms)
                model.update(dict.fromkeys(pages, time_ms))
            case 1:
                page = chance.randrange(60)
                assert queue.discard(page) is (model.pop(page, None) is not None)
            case _:
                held = BitMap(chance.choices(range(60), k=9))
                for page, since_ms in queue.take(4, held):
                    assert model.pop(page) == since_ms and page not in held
        assert set(queue.waiting) == set(model) and len(queue) == len(model)
        assert queue.oldest_ms() == min(model.values(), default=None)
        queue.validate()


def test_heat_cools_down() -> None:
    heat = Heat()
    heat.viewed(BitMap([1]), 0)
    heat.viewed(BitMap([2]), 5 * 60_000)
    assert list(heat.hot(9 * 60_000)) == [1, 2]
    assert list(heat.hot(13 * 60_000)) == [2]
    assert list(heat.hot(HOUR_MS)) == [] and list(heat.warm(HOUR_MS)) == [1, 2]
    assert list(heat.warm(23 * HOUR_MS)) == [1, 2]
    assert list(heat.warm(26 * HOUR_MS)) == []


def test_heat_is_forgotten_with_the_number() -> None:
    heat = Heat()
    heat.viewed(BitMap([1, 2]), 0)
    heat.forget(1)
    assert list(heat.hot(0)) == [2] and list(heat.warm(0)) == [2]


def test_delays_ripen_in_time() -> None:
    delays = Delays()
    delays.put(1, 100)
    delays.put(2, 50)
    delays.put(1, 200)  # put off again
    assert delays.next_due_ms() == 50
    delays.ripen(100)
    assert list(delays.pages) == [1] and delays.next_due_ms() == 200
    delays.clear(1)
    assert delays.next_due_ms() is None
    delays.ripen(500)
    assert not delays.pages
