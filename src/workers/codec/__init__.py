"""Bytes to model data and predictions to bytes, one request at a time."""
