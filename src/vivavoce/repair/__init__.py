"""Repair: trials of remedies on the user's own script, comparison with controls, and proof of the patch."""
