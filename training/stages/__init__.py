"""What every stage is made of: its place on disk, provenance, progress, and how it is shown."""
