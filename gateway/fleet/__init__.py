"""The fleet manager: keeps adapters on replicas. Each is loaded, proven and warmed up before it gets requests."""
