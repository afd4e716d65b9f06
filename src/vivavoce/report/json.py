"""The report as JSON."""

from __future__ import annotations

import json
from typing import TextIO

from vivavoce.report.schema import Report


def write(report: Report, stream: TextIO) -> None:
    """Write the report as indented JSON with a final newline; non-ASCII characters are escaped."""
    json.dump(report, stream, indent=2, allow_nan=False)
    stream.write("\n")
