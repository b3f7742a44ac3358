"""The command line's nouns, one module each. Only `gateway.cli` names them."""
