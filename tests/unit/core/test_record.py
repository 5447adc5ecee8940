"""Frozen objects of named fields: what `dataclasses` promises, without its price at import."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest

from resilient_wsgi.core.record import Record


class Point(Record):
    """With a default, and what is no field."""

    unit = "m"
    count: ClassVar[int] = 0
    x: int
    y: int = 0


class Place(Point):
    """With a field more."""

    name: str = "here"


def test_fields_are_given_by_position_or_name_and_have_defaults():
    assert vars(Point(1)) == {"x": 1, "y": 0}
    assert Point(1, y=2) == Point(y=2, x=1) == Point(1, 2)
    assert vars(Place(1)) == {"x": 1, "y": 0, "name": "here"}


@pytest.mark.parametrize(
    ("values", "named", "text"),
    [
        ((), {}, "Point needs a value for 'x'"),
        ((1, 2, 3), {}, "Point takes 2 fields, got 3"),
        ((1,), {"x": 1}, "no field 'x' that was not given yet"),
        ((1,), {"z": 1}, "no field 'z'"),
        ((1,), {"unit": "km"}, "no field 'unit'"),
    ],
)
def test_mistakes_are_type_errors(values, named, text):
    with pytest.raises(TypeError, match=text):
        Point(*values, **named)


def test_it_is_frozen():
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be set"):
        point.x = 2
    with pytest.raises(AttributeError, match=r"Point\.x cannot be deleted"):
        del point.x
    assert point._replace(x=2) == Point(2)
    assert point == Point(1)


def test_equal_records_are_of_one_class_and_have_one_hash():
    assert len({Point(1), Point(1), Point(2)}) == 2
    assert Point(1) != Place(1)
    assert Point(1) != (1, 0)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_are_equal(again):
    assert again(Place(1, name="there")) == Place(1, name="there")


def test_it_shows_its_fields():
    assert repr(Place(1)) == "Place(x=1, y=0, name='here')"
