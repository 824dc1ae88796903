"""Tests of the wall around workers."""
