"""`graduand train fit`: one LoRA adapter from rows, on one processor or many GPUs."""
