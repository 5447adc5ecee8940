"""No WSGI worker waits for ever."""
