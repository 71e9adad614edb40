"""The page that plays a graph back; what runs in a browser lies beside these files."""
