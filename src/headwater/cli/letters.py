"""`headwater dead-letters`: what was given up, by purging and by propagation."""
