"""The OpenAPI document of one version: its signature as JSON Schema, for clients of that version alone."""
