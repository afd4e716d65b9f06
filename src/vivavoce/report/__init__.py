"""Reporters: each takes data and a stream, and picks no path."""
