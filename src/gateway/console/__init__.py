"""The pages for people: models, a version, events and the gateway, rendered here and live by polling."""
