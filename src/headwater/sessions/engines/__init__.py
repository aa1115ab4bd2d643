"""Sessions: an isolated, encrypted, expiring store of login sessions."""
