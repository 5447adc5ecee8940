"""A running instance, as /proc, the kernel and its scoreboard show it; nothing in it is asked."""
