"""Writing a program down: the function runs once, on Symbols."""
