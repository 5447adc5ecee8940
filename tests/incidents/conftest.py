"""The incidents are those of the lab, run by the same code; a test asserts that a run went as it
must.
"""

from __future__ import annotations

import pytest

from lab.incidents import INCIDENTS
from lab.processes import ToolMissing


@pytest.fixture
def run_incident():
    def run(incident, *, protected, **more):
        try:
            result = INCIDENTS[incident](protected, **more)
        except ToolMissing as missing:
            pytest.skip(str(missing))
        lines = [
            f"{'holds' if truth else 'DOES NOT HOLD'}: {statement}"
            for statement, truth in result.holds
        ]
        figures = [f"{name}: {value}" for name, value in result.figures.items()]
        assert result.holds, "a run that states nothing shows nothing"
        assert result.as_described, "\n".join([result.seen, *lines, *figures, *result.excerpts])

    return run
