"""The place of what is at fault is found in any JSON, whatever stands before it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.http.json import parse
from headwater.http.json_places import InvalidJson

TEXT = st.text(max_size=20)
VALUES = st.recursive(st.none() | TEXT | st.integers(-9, 9), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@given(VALUES, st.data())
def test_the_place_of_a_fault_is_found_in_any_value(value: object, data: st.DataObject) -> None:
    mark = "\x00fault"
    place: list[str | int] = []

    def spoil(inner: object) -> object:
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            place.append(key)
            members = dict(inner) if isinstance(inner, dict) else dict(enumerate(inner))
            members[key] = spoil(members[key])
            return members if isinstance(inner, dict) else list(members.values())
        return mark

    text = json.dumps(spoil(value), ensure_ascii=data.draw(st.booleans())).replace(json.dumps(mark), "1e999")
    with pytest.raises(InvalidJson) as refused:
        parse(text.encode())
    assert refused.value.place == tuple(place)
