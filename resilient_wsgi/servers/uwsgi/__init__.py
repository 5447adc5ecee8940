"""uWSGI: what its own API, its memory and its C functions tell and let us do."""
