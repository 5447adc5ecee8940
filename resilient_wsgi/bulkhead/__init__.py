"""Fair share: one upstream that hangs never holds all threads of an instance."""
