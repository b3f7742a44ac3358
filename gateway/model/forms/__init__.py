"""The APIs' forms and what each says in the words of another: pure translations of requests and answers."""
