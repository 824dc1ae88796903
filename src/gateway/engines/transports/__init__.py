"""How the messages of a link travel: over gRPC between machines, over a Unix socket within one."""
