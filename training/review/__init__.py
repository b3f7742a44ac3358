"""Review: disputed rows out to a person, corrections back in as gold."""
