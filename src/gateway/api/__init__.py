"""The HTTP API: paths, headers, bodies and status codes."""
