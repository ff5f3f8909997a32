"""A short run of the fuzzer; `python -m flexlora.execution.conformance.fuzz` runs for as long as one likes."""

from __future__ import annotations

import pytest
from toolchains import ALL

from flexlora.execution.conformance.fuzz import fuzz


@pytest.mark.slow
def test_random_mixtures_of_hostile_and_honest_programs_do_no_harm_and_have_right_verdicts() -> None:
    if not ALL:
        pytest.skip("takes a minute; `make test-languages` runs it")
    report = fuzz(seed=4, workers=2, rounds=3, slow=False)
    assert report.problems == []
    assert report.programs.total() > 150
    assert {kind.partition(":")[0] for kind in report.programs} == {"honest", "hostile", "pieces"}
    first, last = report.traces[1], report.traces[-1]
    assert last.mounts == first.mounts
    # Whether memory is flat takes an hour to see; a few rounds tell only that what programs print is not kept.
    assert last.own_mib < first.own_mib + 100
