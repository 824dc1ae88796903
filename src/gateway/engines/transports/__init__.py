"""How the messages of a link travel: over TCP between machines, over a Unix socket within one."""
