"""Propagation: knows what each page was made from, and renders exactly what an edit makes stale."""
