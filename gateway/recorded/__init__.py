"""A teacher that answers from a file of recorded answers."""
