"""What treats a finding: one remedy a file."""
