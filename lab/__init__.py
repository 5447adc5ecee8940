"""The five incidents and an overload as runnable experiments, plain beside guarded, on real
servers.
"""
