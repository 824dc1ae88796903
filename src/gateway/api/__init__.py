"""HTTP and nothing else: paths, headers, bodies and statuses of the gateway's own API."""
