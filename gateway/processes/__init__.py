"""How each process begins, one module a process, and what they share. Nobody imports from here."""
