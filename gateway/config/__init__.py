"""The configuration file: its sections, how it is read and checked, and what `graduand check` says of it."""
