"""A program as a person would have written it."""
