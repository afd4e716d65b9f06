"""The instruments: pure numerics, each tested against an independent oracle. No torch in these files."""
