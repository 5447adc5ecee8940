"""Other projects with the library installed."""
