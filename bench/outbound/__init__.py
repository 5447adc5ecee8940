"""Limits on outbound HTTP."""
