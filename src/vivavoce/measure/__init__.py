"""The instruments: pure numerics, each tested against an oracle."""
