"""What the commands and the training loop use to talk to a running gateway."""
