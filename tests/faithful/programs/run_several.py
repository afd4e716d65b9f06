"""Runs the programs named on the command line one after the other in this process."""

import os
import runpy
import sys

here = os.path.dirname(os.path.abspath(__file__))
for name in sys.argv[1:]:
    runpy.run_path(os.path.join(here, f"{name}.py"), run_name="__main__")
