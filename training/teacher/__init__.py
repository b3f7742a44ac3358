"""Teachers: asked through any OpenAI-compatible endpoint, within a budget, each answer paid for once."""
