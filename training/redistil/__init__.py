"""Re-distillation: from what was logged since to the next candidate."""
