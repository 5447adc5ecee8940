"""What the command line costs where an instance has many workers."""
