"""Known traps in what a user trains with, checkpoints and data, each with the way out."""
