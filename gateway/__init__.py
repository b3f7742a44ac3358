"""The gateway: data plane, admin plane, embedded engine and the `graduand` command."""
