"""The file of API keys, roles, and what holders of tokens and certificates may do."""
