"""Decode request bodies to model input, and encode predictions as response bodies."""
