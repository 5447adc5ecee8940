"""What runs around an app: the settings it is given, as one table."""
