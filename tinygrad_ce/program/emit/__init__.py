"""A program as lines of Python that fill buffers."""
