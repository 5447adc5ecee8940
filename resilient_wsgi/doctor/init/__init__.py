"""`resilient-wsgi init`: a good configuration for the project that is found."""
