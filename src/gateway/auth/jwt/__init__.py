"""JSON Web Tokens of one OpenID provider: their keys, their verification, and whom they name."""

from gateway.auth.jwt.authenticator import JwtAuthenticator

__all__ = ["JwtAuthenticator"]
