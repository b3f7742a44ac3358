"""The gateway: data plane, admin plane, embedded engine and the `graduand` command."""

__version__ = "0.1.0"
