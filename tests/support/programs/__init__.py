"""Programs that run a gateway process, one of them as it is and the others with one fault each."""
