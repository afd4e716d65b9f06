"""`python -m vivavoce` is the command `viva`."""

import sys

here = [] if sys.flags.safe_path else [sys.path.pop(0)]  # the current directory may hold a click.py of the user's own

from vivavoce.cli import main  # noqa: E402

sys.path[:0] = here
main()
