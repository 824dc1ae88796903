"""Models of other libraries, MLflows and Pythons than the gateway's, each served from its own environment."""
