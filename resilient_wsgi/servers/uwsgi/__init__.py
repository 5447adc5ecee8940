"""uWSGI, through its Python module, its C functions, and the memory its processes share."""
