"""Programs that run a gateway: `serve` as it is, the others with one fault each."""
