"""What a certificate of promotion rests on: what each step proved, and evidence made again from its lines. Pure."""
