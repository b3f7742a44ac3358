"""`graduand train …`: one file a command, each with `add_parser(steps)`. Imports nothing heavy until one runs."""
