"""The admin plane: its HTTP API, a router a noun, and the console's pages."""
