"""Worker processes, each with one model version loaded; the gateway uses them through `workers.pool`."""
