"""The five incidents as runnable experiments, plain beside guarded, on real servers."""
