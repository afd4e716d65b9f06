"""Taps into PyTorch, one a file. They emit signals and never stop the training they watch."""
