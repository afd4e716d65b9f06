"""For all tests: where a browser is required, a test that skips for want of one fails."""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.get_closest_marker("browser") and os.environ.get("VIVA_REQUIRE_BROWSER"):
        report.outcome = "failed"
        report.longrepr = f"a browser is required (VIVA_REQUIRE_BROWSER), but: {report.longrepr}"
    return report
