"""Exceptions: what an app gets is what its client raises without the library, and ours besides."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import pickle

import pytest

from resilient_wsgi import errors

OURS = [
    errors.ResilientError("a text"),
    errors.ConfigurationError(["one", "two"]),
    errors.DeadlineExceeded("gave up"),
    errors.UpstreamLimited("not called"),
    errors.RequestTimedOut("late"),
    errors.Unavailable("no permission"),
]
each_of_ours = pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)


@each_of_ours
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_each_exception_of_ours_survives_pickle_and_copy(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


@each_of_ours
def test_none_says_that_a_result_is_not_there_yet_or_that_the_system_failed(error):
    for kind in (TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError, OSError):
        assert not isinstance(error, kind)
