"""The demo: a small wiki about rivers, a small HTTP cache, an editor, and a view of edits flowing.

Everything else in it is the real thing.
"""
