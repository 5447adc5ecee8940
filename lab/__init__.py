"""The five incidents and an overload as runnable experiments, without and with the library, on real
servers.
"""
