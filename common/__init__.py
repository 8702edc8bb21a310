"""Helpers without models that every room may use. Nothing here imports Django or another room."""
