"""Who is calling, what they may do, and how much. No HTTP server here: `gateway.api` asks."""
