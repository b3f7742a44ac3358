"""Curation: which rows a student should learn from, and a ledger of why the others went."""
