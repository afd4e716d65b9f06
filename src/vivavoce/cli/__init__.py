"""The command line: one verb a file. It owns paths, overwrite checks and exit codes."""


def main() -> None:
    """Run the command `viva`."""
    raise NotImplementedError
